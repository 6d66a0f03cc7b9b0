"""What leaves this machine: the addresses something private is sent to, and the secrets that are sent along.

A room marks the settings that hold one with ``Address`` or ``SecretFile``, as metadata of the annotation; the
configuration's loader finds the marks and holds the rules. Leaf.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from daemon.errors import ConfigInvalid

_UNSPOKEN = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True, slots=True)
class Address:
    """Marks an http(s) address: https, except on loopback or where ``<section>.allow_plaintext`` says otherwise.

    ``carries`` is the key of the ``SecretFile`` setting whose secret travels to it, empty for none.
    """

    carries: str = ""


@dataclass(frozen=True, slots=True)
class SecretFile:
    """Marks a setting that names a secret's file; its key ends in ``_file``.

    ``variable`` is the environment variable that may hold the secret itself; in lower case it names the systemd
    credential.
    """

    variable: str


class Secret(str):
    """A secret: the text itself to whoever sends it, ``***`` in every representation."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def address_fault(address: str) -> str | None:
    """What is wrong with an address as such, in words that do not repeat it; None where nothing is."""
    try:
        parts = urlsplit(address)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
        parts = urlsplit("")
    if parts.username is not None or parts.password is not None:
        return "carries a user or password; a token belongs into a file or the environment"
    if not whole or _UNSPOKEN.search(address):
        return "must be a whole address such as https://crm.example/calls"
    return None


def without_query(address: str) -> str:
    """The address fit to be shown: a query may hold a key."""
    path, question, _query = address.partition("?")
    return f"{path}?***" if question else address


def is_plain(address: str) -> bool:
    """Would what is sent there cross a network unencrypted?"""
    parts = urlsplit(address)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def is_loopback(host: str) -> bool:
    """Is the host this machine itself, by its very name?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def credential(variable: str, environ: Mapping[str, str]) -> Path | None:
    """The systemd credential that may hold the secret of ``variable``; None where there is none."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / variable.lower() if folder else None
    return path if path is not None and os.path.isfile(path) else None


def exposed(path: Path) -> bool:
    """May everybody read or write the file? False where it cannot be looked at."""
    try:
        return bool(path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH))
    except OSError:
        return False


def exposure(name: str, path: Path) -> ConfigInvalid:
    """The error for a file with a secret that everybody may read or write."""
    return ConfigInvalid(
        f"{name}: {path} can be read or written by everybody", fix=f"chmod 600 {shlex.quote(os.fspath(path))}"
    )


def read_private(path: Path, name: str) -> Secret:
    """The secret in a file, without white space around it. ``name`` is the setting that named the file.

    Raises ConfigInvalid for a file that others may read or write, that cannot be read, or that is not one word.
    """
    quoted = shlex.quote(os.fspath(path))
    if exposed(path):
        raise exposure(name, path)
    try:
        secret = path.read_text("utf-8").strip()
    except OSError as error:
        raise ConfigInvalid(f"{name}: {path} cannot be read ({error.strerror})", fix=f"ls -l {quoted}") from None
    except UnicodeDecodeError:
        raise ConfigInvalid(f"{name}: {path} is not text", fix=f"put the secret alone into {quoted}") from None
    if not secret or _UNSPOKEN.search(secret):
        what = "is empty" if not secret else "holds more than one word"
        raise ConfigInvalid(f"{name}: {path} {what}", fix=f"put the secret alone into {quoted}")
    return Secret(secret)
