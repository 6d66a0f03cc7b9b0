"""What the loopback CRM knows: the recordings and calls it holds, the requests it met, the faults still to come.

It stands for another program on another machine, so it keeps its own time.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from handlers.demo.faults import Fault, Step


@dataclass(slots=True)
class Upload:
    """One recording the CRM holds. ``posts`` counts how often it was sent under its key."""

    filename: str
    original_name: str
    size: int
    sha256: str
    idempotency_key: str | None
    url: str
    posts: int = 1


@dataclass(slots=True)
class Call:
    """Every accepted post of one ``callId``, in order. ``records`` is how many calls a user of this CRM sees."""

    call_id: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    records: int = 0


@dataclass(slots=True)
class Request:
    """One request as it came: ``began`` at its first byte, ``ended`` with its answer (status 0: none was given).

    Times are seconds: ``*_mono`` on this machine's monotonic clock, ``began`` and ``ended`` since the epoch.
    """

    step: str
    idempotency_key: str | None
    began: float
    began_mono: float
    accepted: bool = False
    status: int = 0
    ended: float | None = None
    ended_mono: float | None = None


@dataclass(slots=True)
class Answer:
    """What is answered: status and JSON body."""

    status: int
    document: dict[str, Any]


class Books:
    """The CRM's memory, safe to use from any thread.

    ``uploads``, ``calls`` and ``requests`` may be read at any time; ``wait`` blocks until something is true of them.
    ``forgetful``: neither an Idempotency-Key nor a callId is known again. ``token``: when set, only requests that bear
    it are heard. ``recordings_url``: what the URLs of recordings begin with. ``journal``: a file that gains a JSON line
    for each thing accepted, and gives back what an earlier CRM accepted.
    """

    def __init__(self, *, forgetful: bool, token: str | None, journal: Path | None) -> None:
        self.forgetful = forgetful
        self.token = token
        self.uploads: list[Upload] = []
        self.calls: dict[str, Call] = {}
        self.requests: list[Request] = []
        self.released = threading.Event()
        self.recordings_url = ""
        self._by_key: dict[str, tuple[str, Answer]] = {}
        self._script: dict[Step, deque[Fault]] = {}
        self._changed = threading.Condition()
        self._journal = journal
        self._first_name = int(time.time() * 1000)

    # --------------------------------------------------------------------------------------------- what tests ask of it

    def misbehave(self, *faults: Fault | str | Mapping[str, Any], on: Step = "any", times: int = 1) -> None:
        """The next requests of step ``on`` meet these faults, one each, the whole row ``times`` over."""
        row = [Fault.of(fault) for fault in faults]
        with self._changed:
            self._script.setdefault(on, deque()).extend(row * times)

    def behave(self) -> None:
        """Forget the faults that were not met yet."""
        with self._changed:
            self._script.clear()

    def release(self) -> None:
        """Let requests that hang go: their connections are cut."""
        self.released.set()
        self.released = threading.Event()

    def wait(self, until: Callable[[Books], bool], within_s: float = 10.0) -> None:
        """Block until ``until`` is true of this CRM; raises TimeoutError after ``within_s`` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: until(self), within_s):
                raise TimeoutError(f"not within {within_s} s: {len(self.uploads)} uploads, {len(self.calls)} calls")

    @property
    def records(self) -> int:
        """Calls that a user of this CRM sees; more than ``len(calls)`` where some are doubled."""
        return sum(call.records for call in self.calls.values())

    def state(self) -> dict[str, Any]:
        """All it knows, as JSON."""
        with self._changed:
            return {
                "uploads": [asdict(upload) for upload in self.uploads],
                "calls": {call_id: asdict(call) for call_id, call in self.calls.items()},
                "requests": [asdict(request) for request in self.requests],
                "records": self.records,
            }

    # --------------------------------------------------------------------------------------------- what it does

    def began(self, step: Step, key: str | None, began: float, began_mono: float) -> tuple[Request, Fault | None]:
        """A request arrived: write it down, and say what it shall meet."""
        request = Request(step, key, began, began_mono)
        with self._changed:
            self.requests.append(request)
            row = self._script.get(step) or self._script.get("any")
            return request, row.popleft() if row else None

    def ended(self, request: Request, status: int) -> None:
        """A request got its answer; status 0 is none."""
        with self._changed:
            request.status, request.ended, request.ended_mono = status, time.time(), time.monotonic()
            self._changed.notify_all()

    def accept_upload(
        self, name: str, size: int, sha256: str, key: str | None, request: Request | None, filename: str = ""
    ) -> Answer:
        """Take a recording in; one whose key is known is the same recording."""
        with self._changed:
            known = self._known(key, f"upload {sha256}")
            if known is None:
                filename = filename or f"{self._first_name + len(self.uploads)}{Path(name).suffix}"
                known = self._remember(key, f"upload {sha256}", self._new_upload(filename, name, size, sha256, key))
            elif known.status == HTTPStatus.OK:
                filename = known.document["data"]["filename"]
                next(upload for upload in self.uploads if upload.filename == filename).posts += 1
            if known.status == HTTPStatus.OK:
                entry = {"name": name, "size": size, "sha256": sha256, "key": key, "filename": filename}
                self._took(request, {"upload": entry})
            return known

    def _new_upload(self, filename: str, name: str, size: int, sha256: str, key: str | None) -> Answer:
        url = f"{self.recordings_url}/{filename}"
        self.uploads.append(Upload(filename, name, size, sha256, key, url))
        data = {
            "filename": filename,
            "originalName": name,
            "size": size,
            "url": url,
            "relativeUrl": f"/uploads/recordings/{filename}",
        }
        return Answer(200, {"success": True, "data": data})

    def accept_call(self, body: dict[str, Any], key: str | None, request: Request | None) -> Answer:
        """Take call data in; a callId that is known is the same call, with news."""
        call_id = body["callDetails"]["callId"]
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        with self._changed:
            answer = self._known(key, f"call {digest}")
            if answer is not None and answer.status != HTTPStatus.OK:
                return answer
            call = self.calls.setdefault(call_id, Call(call_id))
            call.bodies.append(body)
            call.keys.append(key)
            call.records = call.records + 1 if self.forgetful else 1
            answer = answer or self._remember(
                key, f"call {digest}", Answer(200, {"success": True, "data": {"callId": call_id}})
            )
            self._took(request, {"call": {"body": body, "key": key}})
            return answer

    def _known(self, key: str | None, what: str) -> Answer | None:
        if key is None or self.forgetful or key not in self._by_key:
            return None
        before, answer = self._by_key[key]
        if before != what:
            return Answer(422, {"success": False, "message": "Idempotency-Key was used for something else"})
        return answer

    def _remember(self, key: str | None, what: str, answer: Answer) -> Answer:
        if key is not None:
            self._by_key[key] = (what, answer)
        return answer

    def _took(self, request: Request | None, entry: Mapping[str, Any]) -> None:
        if request is not None:
            request.accepted = True
            if self._journal is not None:
                with self._journal.open("a", encoding="utf-8") as journal:
                    journal.write(json.dumps(entry) + "\n")
        self._changed.notify_all()

    def replay(self) -> None:
        """Take in what the journal holds."""
        if self._journal is None or not self._journal.exists():
            return
        for line in self._journal.read_text("utf-8").splitlines():
            entry = json.loads(line)
            if "upload" in entry:
                self.accept_upload(**entry["upload"], request=None)
            else:
                self.accept_call(**entry["call"], request=None)
