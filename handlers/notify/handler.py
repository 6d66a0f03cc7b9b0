"""Tells people what is wrong, and that it is over: looked at every minute, grouped into one message.

What lasts less than ``notify.after`` is told to nobody. Whatever else goes wrong in the minutes of an outage stands in
the same message; what was told is not told again while it lasts, and its end is told once. Who was told of what is in
the ledger, so that a restart repeats nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

from daemon.contract import Effect, Fact, Job, JobSpec, Outcome, Planned, Reader, Trouble
from handlers.records import Notice, NoticeKept, NoticeOver, notices
from handlers.settings import NotifySettings

KIND = "notice"
JOB = JobSpec(KIND, "all")
SEND = "notice.send"
DEST = "notify"


class NoticeHandler:
    """Decides what to tell. ``addresses`` are the secret addresses to tell it to, ``troubles`` what is wrong now."""

    kinds = (KIND,)

    def __init__(
        self,
        settings: NotifySettings,
        addresses: Sequence[str],
        troubles: Callable[[Reader], Sequence[Trouble]],
    ) -> None:
        self._settings, self._addresses, self._troubles = settings, addresses, troubles

    def plan(self, job: Job, read: Reader) -> Outcome:  # noqa: ARG002 - there is one job, and it looks at everything
        """Compare what is wrong with what was told."""
        wrong = {trouble.key: trouble for trouble in self._troubles(read)}
        before = notices(read)
        fresh = [trouble for key, trouble in wrong.items() if self._is_due(before.get(key), read)]
        over = [notice for key, notice in before.items() if key not in wrong]
        facts: tuple[Fact, ...] = (
            *(NoticeKept(trouble.key, trouble.line, trouble in fresh) for trouble in wrong.values()),
            *(NoticeOver(notice.key) for notice in over),
        )
        title, body = message(fresh, [notice for notice in over if notice.told], self._lasting(wrong, before))
        return Planned(facts=facts, effects=self._sent(title, body, read) if body else ())

    def _is_due(self, before: Notice | None, read: Reader) -> bool:
        """Whether a trouble has lasted long enough, and nobody was told."""
        return before is not None and not before.told and read.now - before.since >= self._settings.after

    def _lasting(self, wrong: Mapping[str, Trouble], before: Mapping[str, Notice]) -> int:
        """How many troubles people know of already."""
        return sum(notice.told for key, notice in before.items() if key in wrong)

    def _sent(self, title: str, body: str, read: Reader) -> tuple[Effect, ...]:
        """A message to each address by its place and its digest: the address itself is a secret."""
        return tuple(
            Effect.of(
                SEND,
                f"{place}:{read.now:%Y-%m-%dT%H:%M:%S.%f}",
                DEST,
                {"to": place, "address": digest(address), "title": title, "body": body},
            )
            for place, address in enumerate(self._addresses)
        )


def digest(address: str) -> str:
    """By what an address is known in the ledger."""
    return hashlib.sha256(address.encode()).hexdigest()[:16]


def message(fresh: Sequence[Trouble], over: Sequence[Notice], lasting: int) -> tuple[str, str]:
    """Title and text; no text where there is nothing to tell."""
    if not fresh and not over:
        return "", ""
    left = len(fresh) + lasting
    title = f"callspool: {left} to look at" if left else "callspool: all is well again"
    lines = [f"- {trouble.line}" for trouble in fresh]
    lines += [f"- over: {notice.line}" for notice in over]
    lines += ["", "callspool failures  says what to do"] if left else []
    return title, "\n".join(lines)
