"""Whose files are meant: by number, by call or by lead, always the whole call with all its versions and neighbours."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from daemon.contract import Reader, Traces
from daemon.errors import BadRequest, UnknownSubject
from handlers import records

SHORTEST = 6
"""Characters of a word that surely names somebody."""

LOOK = "callspool status; callspool explain takes names, callspool erase takes them too"


def wanted(args: Mapping[str, Any], read: Reader, region: str) -> tuple[int, ...]:
    """The items of a request, with everything that belongs to the same calls. Raises UnknownSubject, BadRequest."""
    given = [key for key in ("number", "call", "lead") if args.get(key)]
    if len(given) != 1:
        raise BadRequest("erase whom? one of --number, --call, --lead", fix="callspool erase --number +12025550123")
    word = str(args[given[0]])
    if given[0] == "number":
        seeds = records.items_of_number(read, e164(word, region))
    elif given[0] == "call":
        seeds = records.find_calls(read, word)
    else:
        seeds = records.find_leads(read, word)
    if not seeds and not imports_meant(args, read, region):
        raise UnknownSubject(f"nothing here belongs to that {given[0]}", fix=LOOK)
    return records.whole_calls(read, seeds)


def imports_meant(args: Mapping[str, Any], read: Reader, region: str) -> dict[str, tuple[str, ...]]:
    """Conversations of an older collection that the request itself names: they have no items."""
    words = [str(args["call"])] if args.get("call") else []
    if args.get("number"):
        words = [e164(str(args["number"]), region).lstrip("+")]
    return records.imports_naming(read, [word for word in words if len(word) >= SHORTEST])


def e164(given: str, region: str) -> str:
    """The number as the ledger keeps numbers; raises BadRequest."""
    import phonenumbers  # as heavy as a tenth of what a verb like status takes to start, which reads no number

    try:
        parsed = phonenumbers.parse(given, region or None)
    except phonenumbers.NumberParseException:
        raise BadRequest("that is no number", fix="callspool erase --number +12025550123  with its country") from None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def traces(written: Sequence[str], read: Reader, ids: Sequence[int]) -> Traces:
    """The words of the domain's rows by which anything else may name these items; and of what callspool has written
    (``written``: files and folders), every file that holds one of them."""
    words = [word for word in records.words_of(read, ids) if word]
    numbers = [word.lstrip("+") for word in words if re.fullmatch(r"\+\d{6,}", word)]
    known = tuple(dict.fromkeys((*words, *numbers)))
    imports = records.imports_naming(read, [word for word in known if len(word) >= SHORTEST])
    older = tuple(word for one, names in imports.items() for word in (one, *names))
    telling = [path for path in _files(written) if _tells(path, (*known, *older))]
    return Traces(
        words=(*known, *older),
        files=tuple(os.path.split(path) for path in telling),
        facts=tuple(map(records.ImportErased, imports)),
    )


def _files(written: Sequence[str]) -> Iterator[str]:
    for path in written:
        if os.path.isfile(path) and not os.path.islink(path):
            yield path
        for folder, _folders, names in os.walk(path):
            yield from (os.path.join(folder, name) for name in sorted(names))


def _tells(path: str, words: Sequence[str]) -> bool:
    """Whether a file holds one of the words; one that cannot be read is said to, for a person to see it listed."""
    wanted = [word.encode() for word in words if len(word) >= SHORTEST]
    try:
        with open(path, "rb") as file:
            return any(word in line for line in file for word in wanted)
    except OSError:
        return not os.path.islink(path) and os.path.isfile(path)
