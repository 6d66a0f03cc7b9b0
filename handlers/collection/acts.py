"""What a person may say about what counts; all of it is journaled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daemon.contract import Act, Acted, Event, Json, Reader
from daemon.errors import BadRequest, UnknownSubject
from handlers import records
from handlers.collection.asked import Collection
from handlers.collection.importing import NotThatForm, imported
from handlers.records import HoursExcluded, HoursIncluded, HoursReset


def acts(collection: Collection) -> dict[str, Act]:
    """The acts by name."""

    def take_in(args: Mapping[str, Any], _read: Reader) -> Acted:
        """``import``: some entries of an older collection's metadata."""
        try:
            facts = tuple(imported(entry, collection.zone) for entry in args.get("entries", ()))
        except NotThatForm as error:
            raise BadRequest(f"not a conversations_metadata.json: {error}", fix="see README, Hours") from None
        event = Event("collection.imported", {"conversations": len(facts)})
        return Acted({"imported": len(facts)}, facts=facts, events=(event,))

    return {"hours.exclude": exclude, "hours.include": include, "hours.reset": reset, "collection.import": take_in}


def exclude(args: Mapping[str, Any], read: Reader) -> Acted:
    """A conversation counts no more. Raises UnknownSubject."""
    group = _group(str(args["subject"]), read)
    why = _why(args)
    return _said(group, "hours.excluded", HoursExcluded(group, why), why, read)


def include(args: Mapping[str, Any], read: Reader) -> Acted:
    """It counts again. Raises UnknownSubject."""
    group = _group(str(args["subject"]), read)
    return _said(group, "hours.included", HoursIncluded(group), _why(args), read)


def reset(args: Mapping[str, Any], _read: Reader) -> Acted:
    """Counting begins anew; nothing is removed."""
    why = _why(args)
    return Acted({"reset": True}, facts=(HoursReset(why),), events=(Event("hours.reset", {"reason": why}, "warning"),))


def _said(group: str, event: str, fact: HoursExcluded | HoursIncluded, why: str, read: Reader) -> Acted:
    item = records.recording_ids(read, group)[0]
    answer: Json = {"subject": f"r{item}", "conversation": group}
    return Acted(answer, facts=(fact,), events=(Event(event, {"subject": f"r{item}", "item": item, "reason": why}),))


def _group(subject: str, read: Reader) -> str:
    """The recording a person means, by its own name or by its call's."""
    found = records.find_groups(read, subject)
    if not found:
        paired = [records.pairing(read, number) for number in records.find_calls(read, subject)]
        found = tuple(pairing.group for pairing in paired if pairing is not None)
    if len(found) != 1:
        said = "no recorded call is known by that name" if not found else "several recordings are called that"
        raise UnknownSubject(said, fix="callspool explain FILE  tells its r-number")
    return found[0]


def _why(args: Mapping[str, Any]) -> str:
    return str(args.get("why", ""))[:500]
