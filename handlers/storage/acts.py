"""What a person may have done about storage: each is journaled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daemon.contract import Act, Acted, Event, Fact, JobSpec, Reader
from daemon.errors import BadRequest, UnknownSubject
from handlers import records
from handlers.records import AllUnstranded, CopyBound, ServiceProbed
from handlers.storage.handler import DRAIN, LONE, S3
from handlers.storage.layout import conversation_name
from handlers.storage.planning import Places
from handlers.storage.repair import repair


def acts(places: Places, service: str) -> Mapping[str, Act]:
    """The acts by name."""

    def drain(args: Mapping[str, Any], read: Reader) -> Acted:
        """Move what waits to S3, also what S3 did not take before; with ``all`` whatever lies in the local store."""
        if places.home != "s3":
            raise BadRequest("no S3 store is configured", fix="callspool doctor")
        facts: list[Fact] = [AllUnstranded()]
        if args.get("all"):
            facts += [
                CopyBound(copy.key, _object(read, places, copy))
                for copy in records.all_copies(read)
                if copy.place == "local" and copy.state == "verified" and copy.bound_for is None
            ]
        waiting = records.copy_counts(read)["waiting"]["objects"] + len(facts) - 1
        event = Event("storage.drained", {"reason": "a person asked for it", "objects": waiting})
        return Acted({"waiting": waiting}, tuple(facts), (JobSpec(DRAIN, S3),), (event,))

    def keep(args: Mapping[str, Any], read: Reader) -> Acted:
        """Keep what a probe found."""
        del read
        found = {str(name): str(finding) for name, finding in args["found"].items()}
        event = Event("storage.probed", {"dest": S3, "reason": "a person asked for it"})
        return Acted({"kept": found}, (ServiceProbed(service, found),), events=(event,))

    def take(args: Mapping[str, Any], read: Reader) -> Acted:
        """Store a recording now, under the given name, without waiting for a call to claim it."""
        recording = int(args["recording"])
        item = read.item(recording)
        if not records.recording_ids(read, records.recording(read, recording).group):
            raise UnknownSubject(f"no recording r{recording}")
        day = item.first_seen_at.strftime("%Y-%m-%d")
        name = conversation_name(str(args["name"]), None, item.sha256)  # keys hold no number
        facts = (records.StorageNamed(recording, name, day),)
        return Acted({"recording": f"r{recording}"}, facts, (JobSpec(LONE, str(recording)),))

    return {
        "storage.drain": drain,
        "storage.keep_probe": keep,
        "storage.take": take,
        "storage.repair": repair(places),
    }


def _object(read: Reader, places: Places, copy: records.Copy) -> dict[str, Any]:
    """A copy of the local store as an object that moves: its key in S3 follows its local one."""
    name = records.storage_name(read, copy.subject)
    metadata = {"sha256": copy.sha256, "call-id": f"c{copy.subject}", "role": copy.role}
    if name is not None:
        from urllib.parse import quote

        metadata["conversation"] = quote(name[0])
    layout = places.layouts["s3"]
    from handlers.storage.layout import call_names, numberless

    conversation, day = name if name is not None else (f"c{copy.subject}", f"{copy.intended_at:%Y-%m-%d}")
    names = call_names(conversation, day)
    file = copy.key.rpartition("/")[2]
    if copy.role == "audio":
        key = layout.audio_key(names, file, copy.sha256)
    elif copy.role in ("metadata", "sidecar"):
        key = f"{layout.folder(names)}/{numberless(file, copy.sha256)}"
    else:
        key = f"{layout.transcript_folder(names)}/{file}"
    return {
        "role": copy.role,
        "item": copy.item,
        "text": None,
        "sha256": copy.sha256,
        "size": copy.size,
        "type": "application/octet-stream",
        "keys": {"local": copy.key, "s3": key},
        "metadata": metadata,
        "started_at": f"{day}T00:00:00.000Z",
        "over": False,
    }
