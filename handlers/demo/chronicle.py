"""What happens during the demo, in order, and which call each happening is about."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import cast

from daemon.contract import Clock, Event, Json
from handlers.demo.calls import Call

LOOK_S = 0.05
"""Seconds between two looks at what brings no event: files."""


class Cast:
    """Which call an event speaks of: events name items, files and content, a viewer counts calls from 1."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = tuple(calls)
        self._by_name = {
            name: call for call in calls for name in (call.recording_name, call.transcript_name, call.lead_name) if name
        }
        self._by_content = {hashlib.sha256(call.recording).hexdigest()[:12]: call for call in calls if call.recording}
        self._by_item: dict[str, Call] = {}

    def learn(self, event: Event) -> None:
        """An item got its number: from now on it may be spoken of by it."""
        call = self._by_name.get(str(event.fields.get("path", "")).rsplit("/", 1)[-1])
        if call is not None and event.name == "file.settled":
            self._by_item[str(event.fields.get("item", ""))] = call

    def call_of(self, event: Event) -> Call | None:
        """The call an event is about, if it is about one."""
        fields = event.fields
        if "call" in fields:
            return self.calls[cast("int", fields["call"]) - 1]
        for name in ("call_id", "item"):
            # c12, r13 and l14 are the items 12, 13 and 14
            call = self._by_item.get(str(fields.get(name, "")).lstrip("crl"))
            if call is not None:
                return call
        by_content = self._by_content.get(str(fields.get("sha256", "")))
        return by_content or self._by_name.get(str(fields.get("path", "")).rsplit("/", 1)[-1])

    def masked(self, text: str) -> str:
        """The text without any caller's number."""
        for call in self.calls:
            text = text.replace(call.caller[1:], call.masked_number)
        return text


class Chronicle:
    """Events with the seconds at which they came. Anyone adds; one thread waits, and tells them while it does.

    ``tell`` is called by the waiting thread alone, so that a slow terminal never holds up the daemon.
    """

    def __init__(self, clock: Clock, cast_: Cast, tell: Callable[[float, Event], None]) -> None:
        self._clock, self._cast, self._tell = clock, cast_, tell
        self._began_s = clock.monotonic()
        self._changed = threading.Condition()
        self._told = 0
        self._all: list[tuple[float, Event]] = []

    def add(self, event: Event) -> None:
        """Something happened just now."""
        with self._changed:
            self._cast.learn(event)
            self._all.append((self.elapsed_s, event))
            self._changed.notify_all()

    def wait(self, until: Callable[[Chronicle], bool], within_s: float) -> bool:
        """Tell what happens until ``until`` is true; False where ``within_s`` seconds were not enough."""
        deadline = self._clock.monotonic() + within_s
        while True:
            self.tell()
            with self._changed:
                if until(self):
                    break
                left_s = deadline - self._clock.monotonic()
                if left_s <= 0:
                    return False
                if self._told == len(self._all):
                    self._changed.wait(min(left_s, LOOK_S))
        self.tell()
        return True

    def pause(self, seconds: float) -> None:
        """Tell what happens for so long."""
        self.wait(lambda _: False, seconds)

    def tell(self) -> None:
        """Tell what was not told yet."""
        while self._told < len(self._all):
            at_s, event = self._all[self._told]
            self._told += 1
            self._tell(at_s, event)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return self._clock.monotonic() - self._began_s

    def when(self, name: str, call: Call | None = None, **fields: Json) -> float | None:
        """When the first such event came."""
        return next((at_s for at_s, _ in self.found(name, call, **fields)), None)

    def found(self, name: str, call: Call | None = None, **fields: Json) -> list[tuple[float, Event]]:
        """Every event of this name, about this call, with these fields."""
        return [
            (at_s, event)
            for at_s, event in tuple(self._all)
            if event.name == name
            and (call is None or self._cast.call_of(event) is call)
            and all(event.fields.get(key) == value for key, value in fields.items())
        ]
