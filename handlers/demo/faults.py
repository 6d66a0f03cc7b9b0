"""How the loopback CRM misbehaves on command.

A ``Fault`` is one misbehaviour, used up by one request. ``FAULTS`` names those met in the field; tests and other
processes may also spell out their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Then = Literal["answer", "reset", "hang", "drip"]
Step = Literal["upload", "call", "lookup", "probe", "any"]

_HTML = "<!DOCTYPE html><html><body><h1>Bad Gateway</h1></body></html>"
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Fault:
    """What one request meets instead of the promised answer.

    ``accept``: what was posted is taken in first. ``then``: the request is answered, its connection reset, or left
    hanging, or the answer comes a byte at a time. ``status``, ``headers``, ``body`` and ``content_type`` replace those
    of the answer; ``{callId}`` inside ``body`` becomes the posted id. ``data`` overrides fields of the promised
    ``data``, where None leaves the field out. ``pause_s``: seconds between the bytes of a drip.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    content_type: str = _JSON
    accept: bool = False
    then: Then = "answer"
    data: Mapping[str, Any] = field(default_factory=dict)
    pause_s: float = 0.02

    @classmethod
    def of(cls, given: Fault | str | Mapping[str, Any]) -> Fault:
        """A fault by value, by name, or by its fields, where ``name`` may say which one they change."""
        if isinstance(given, Fault):
            return given
        if isinstance(given, str):
            return FAULTS[given]
        fields = dict(given)
        return replace(FAULTS[fields.pop("name")] if "name" in fields else cls(), **fields)


def throttled(retry_after: str, status: int = 429) -> Fault:
    """429 (or 503) with ``Retry-After`` as given: seconds, a date, or nonsense."""
    return Fault(status, headers={"Retry-After": retry_after}, body='{"success": false, "message": "slow down"}')


def _no(status: int, message: str) -> Fault:
    return Fault(status, body=json.dumps({"success": False, "message": message}))


def _url(url: str | None) -> Fault:
    return Fault(accept=True, data={"url": url})


FAULTS: Mapping[str, Fault] = {
    "400": _no(400, "callDetails.startTime is not a date"),
    "401": _no(401, "token expired"),
    "403": _no(403, "not your campaign"),
    "404": _no(404, "no such campaign"),
    "408": _no(408, "request timeout"),
    "409": _no(409, "another call stands in the way"),
    "409_ours": _no(409, "call {callId} exists already"),
    "413": _no(413, "file too large"),
    "415": _no(415, "unsupported media type"),
    "422": _no(422, "campaignId: unknown"),
    "429": _no(429, "slow down"),
    "500": _no(500, "internal error"),
    "502": Fault(502, body=_HTML, content_type="text/html"),
    "503": _no(503, "maintenance"),
    "504": Fault(504, body=_HTML, content_type="text/html"),
    "redirect": Fault(307, headers={"Location": "/elsewhere"}, body=""),
    "says_no": Fault(200, body='{"success": false, "message": "quota used up"}'),
    "html": Fault(200, body=_HTML, content_type="text/html"),
    "empty": Fault(200, body=""),
    "huge": Fault(200, body='{"success": true, "padding": "' + "x" * (2 << 20) + '"}'),
    "reset": Fault(then="reset"),
    "drop": Fault(accept=True, then="reset"),
    "hang": Fault(accept=True, then="hang"),
    "drip": Fault(accept=True, then="drip"),
    "url_missing": _url(None),
    "url_relative": _url("/uploads/recordings/1.ogg"),
    "url_javascript": _url("javascript:alert(1)"),
    "url_credentials": _url("http://user:secret@crm.example/1.ogg"),
    "wrong_size": Fault(accept=True, data={"size": 1}),
}
"""Misbehaviours by name. ``reset`` drops what was sent, ``drop`` takes it in and then resets the connection."""
