"""Names below a root: which are never files of ours, and how a name is shown to people.

Names are bytes, as the file system has them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate

TEMPORARY = (
    b".*",  # dotfiles: rsync's .name.XXXXXX, .fuse_hidden*, .nfs*, ._*, .#*, .st* and our own temporary names
    b"*~",
    b"~$*",
    b"#*#",
    b"*.swp",
    b"*.swx",
    b"*.swo",
    b"*.tmp",
    b"*.temp",
    b"*.part",
    b"*.partial",
    b"*.filepart",
    b"*.crdownload",
    b"*.download",
    b"*.!*",
    b"@eadir",
    b"thumbs.db",
    b"desktop.ini",
    b"*.uploaded",  # markers beside what was delivered, ours or those of the system before
    b"4913",  # vim tries whether a folder is writable with a file of this name
)
"""Names that editors, transfers and systems use for what is not finished or not meant. Compared in lower case."""


class Names:
    """Which names are passed over: the built-in list, and the user's patterns on top of it.

    Patterns are those of a shell, matched on the base name without regard to case. ``ready_suffix`` names the
    producer's markers, which are no files of ours either.
    """

    def __init__(self, patterns: Sequence[str] = (), ready_suffix: str = "") -> None:
        every = [*TEMPORARY, *(pattern.encode().lower() for pattern in patterns)]
        union = "|".join(translate(pattern.decode("latin-1")) for pattern in every)
        self._passed_over = re.compile(union.encode("latin-1"), re.DOTALL)
        self._ready_suffix = ready_suffix.encode()

    def ignores(self, name: bytes) -> bool:
        """True for a base name, of a file or of a folder, that never enters the ledger."""
        return self._passed_over.match(name.lower()) is not None or self.announces(name) is not None

    def announces(self, name: bytes) -> bytes | None:
        """The name of the file that a marker called ``name`` declares finished; None where it is no marker."""
        suffix = self._ready_suffix
        return name[: -len(suffix)] if suffix and name.endswith(suffix) and name != suffix else None

    def marker(self, name: bytes) -> bytes | None:
        """The name of the marker that declares ``name`` finished; None where none is expected."""
        return name + self._ready_suffix if self._ready_suffix else None


def join(*parts: bytes) -> bytes:
    """A path out of parts, where an empty part stands for the folder itself."""
    return b"/".join(part for part in parts if part)
