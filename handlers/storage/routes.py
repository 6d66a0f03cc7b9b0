"""``POST /audio/process`` and ``GET /audio/storage-info``."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from daemon.contract import Json, Reader, Serving
from handlers import records
from handlers.storage import documents
from handlers.storage.info import INFO, PROCESS, Intake, storage_info
from handlers.storage.taking import Malformed, Taken, Taking, TooLarge, boundary_of

WAIT_S, LONGEST_WAIT_S = 10.0, 300.0
"""How long an answer waits for the recording to be stored, where nothing else is asked for."""

LOOK_S = 0.05

Wait = Annotated[float, Query(ge=0, le=LONGEST_WAIT_S, description="Seconds to wait for it to be stored.")]

FORM: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "string", "format": "binary", "minLength": 1, "description": "The recording."},
                    "conversation_id": {"type": "string", "description": "What its conversation is called."},
                },
            }
        }
    },
}
"""What is sent to ``POST /audio/process``. It is read as a stream, so FastAPI cannot tell it from the signature."""


def routes(intake: Intake, serving: Serving) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["audio"])

    @router.get(INFO)
    def info() -> dict[str, Any]:
        """Which store is used."""
        return storage_info(intake.settings, intake.s3)

    @router.post(PROCESS, responses={507: {"description": "No room on the disk."}}, openapi_extra={"requestBody": FORM})
    async def process(request: Request, wait: Wait = WAIT_S) -> JSONResponse:
        """Take a recording (multipart, part ``file``); answers when it is safe, and stored if that is soon."""
        try:
            taken = await _take(intake, request)
        except TooLarge:
            limit = intake.settings.upload_limit
            return JSONResponse({"error": f"a file of at most {limit} bytes", "fix": "storage.upload_limit"}, 413)
        except Malformed as error:
            return JSONResponse({"error": str(error), "fix": f"curl -F file=@call.ogg …{PROCESS}"}, 400)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            return JSONResponse({"error": f"it cannot be written: {reason}", "fix": "callspool doctor"}, 507)
        return JSONResponse(await _stored(intake, serving, taken, wait))

    return router


async def _take(intake: Intake, request: Request) -> Taken:
    taking = Taking(
        intake.recordings, boundary_of(request.headers.get("content-type", "")), intake.settings.upload_limit
    )
    try:
        async for chunk in request.stream():
            await asyncio.to_thread(taking.feed, chunk)
        return await asyncio.to_thread(taking.finish)
    except BaseException:
        taking.give_up()
        raise


async def _stored(intake: Intake, serving: Serving, taken: Taken, wait_s: float) -> dict[str, Any]:
    """Wait for the ordinary way to know and store it, as long as asked; what is known by then is the answer."""
    loop = asyncio.get_running_loop()
    until, asked = loop.time() + wait_s, False
    while True:
        found, recording = await asyncio.to_thread(_look, serving, taken, intake)
        if recording is not None and not asked:
            asked = True
            args: dict[str, Json] = {"recording": recording, "name": taken.conversation}
            await asyncio.to_thread(serving.act, "storage.take", args)
        if found["message"] == STORED or loop.time() >= until:
            return found
        await asyncio.sleep(LOOK_S)


STORED, SAFE = "stored and verified", "safe on disk; it is stored next"


def _look(serving: Serving, taken: Taken, intake: Intake) -> tuple[dict[str, Any], int | None]:
    """The answer as it stands, and the recording's id once it is understood."""
    with serving.view() as read:
        rows = read.rows(
            "SELECT recording.id FROM recording JOIN item ON item.id = recording.id WHERE sha256 = ? "
            "ORDER BY recording.id DESC",
            (taken.sha256,),
        )
        recording = rows[0]["id"] if rows else None
        copies = () if recording is None else records.copies_of_item(read, recording)
        copy = next((one for one in copies if one.state == "verified"), None)
        document, transcript = (None, None) if recording is None else _transcript(read, recording, intake)
    waiting = os.path.relpath(taken.path, os.path.dirname(intake.recordings))
    return {
        "conversation_id": taken.conversation,
        "audio_file_path": waiting if copy is None else _path(intake, copy),
        "transcript_file_path": transcript,
        "transcript": document,
        "message": SAFE if copy is None else STORED,
    }, recording


def _path(intake: Intake, copy: records.Copy) -> str:
    if copy.place == "s3":
        return f"s3://{copy.bucket}/{copy.key}"
    return f"{storage_info(intake.settings, intake.s3)['local_path']}/{copy.key}"


def _transcript(read: Reader, recording: int, intake: Intake) -> tuple[dict[str, Any] | None, str | None]:
    """The transcript of the call that claims the recording, and where its text lies; None until there is one."""
    pairing = records.pairing_of_group(read, records.recording(read, recording).group)
    if pairing is None:
        return None, None
    document = records.conversation(read, pairing.conversation_id).document
    lies = [
        c for c in records.copies(read, pairing.conversation_id) if c.role == "transcript" and c.state == "verified"
    ]
    return told(document), _path(intake, lies[0]) if lies else None


def told(document: Mapping[str, Any]) -> dict[str, Any]:
    """A transcript as formats 9 has it."""
    said = documents.utterances(document)
    items = document.get("conversation_items")
    times = [item.get("timestamp") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    spoken = Counter(speaker for speaker, _ in said)
    words = Counter[str]()
    for speaker, text in said:
        words[speaker] += len(text.split())
    return {
        "speaker_count": len(spoken),
        "segments": [
            {"speaker": speaker, "text": text, "timestamp": times[place] if place < len(times) else None}
            for place, (speaker, text) in enumerate(said)
        ],
        "formatted_transcript": documents.transcript_text(document),
        "speaker_stats": {who: {"segments": spoken[who], "words": words[who]} for who in spoken},
    }
