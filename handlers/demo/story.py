"""The demo told as it happens, and its end: for people with rich, for programs as JSON lines.

Columns of the story: seconds since the beginning, who acts (the world or callspool), which call, what happened: 80
characters in all. Colours only where the output is a terminal; no number of a caller anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TextIO

from daemon.contract import Event, Fields, Json
from handlers.demo.calls import Call
from handlers.demo.chronicle import Cast
from handlers.demo.verdict import Line, Verdict

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 100
"""Characters in a line where there is no terminal that says."""

_STYLES = {"world": "cyan", "callspool": "green"}

Told = tuple[str, str] | None
"""What to say of an event, and in which style; None where it needs no line."""

Telling = Callable[[Fields, Call | None], Told]
"""Says it, of an event's fields and the call it is about."""


def _settled(fields: Fields, _call: Call | None) -> Told:
    if fields.get("role") != "recordings":
        return None
    return f"recording taken: finished and closed, {fields.get('size_bytes', 0):,} bytes", ""


def _measured(fields: Fields, _call: Call | None) -> Told:
    return f"recording measured by its samples: {fields['duration_s']:.3f} s", ""


def _accepted(_fields: Fields, call: Call | None) -> Told:
    if call is not None and not call.recording:
        return "delivered without a recording: none came in time", "bold green"
    return "delivered: the CRM accepted the call", "bold green"


def _deferred(fields: Fields, _call: Call | None) -> Told:
    status = fields.get("http_status")
    if status in (429, 503):
        return f"the CRM says {status}, come back later: the call waits", "yellow"
    if status is None:
        return "sent, and no answer: it may have arrived or not", "yellow"
    return f"the CRM says {status}: {fields.get('reason')}", "yellow"


def _plainly(text: str, style: str = "") -> Telling:
    return lambda _fields, _call: (text, style)


_TELLINGS: Mapping[str, Telling] = {
    "file.settled": _settled,
    "file.duplicated": _plainly("the same recording again: noted, nothing is sent"),
    "recording.understood": _measured,
    "conversation.understood": lambda fields, _: (f"transcript read, {fields.get('turns')} lines", ""),
    "lead.understood": _plainly("lead read"),
    "call.matched": lambda fields, _: (f"files matched: {fields.get('reason')}", ""),
    "call.alone": _plainly("no recording came while it waited: it goes without"),
    "lead.matched": _plainly("its lead belongs to it"),
    "crm.uploaded": _plainly("recording uploaded, the CRM answered with its URL"),
    "crm.accepted": _accepted,
    "job.deferred": _deferred,
    "effect.doubted": _plainly("so it is sent again, under the same callId and key", "yellow"),
    "destination.throttled": _plainly("all for the CRM waits as long as it asked", "yellow"),
    "destination.recovered": _plainly("the CRM takes deliveries again"),
}


class Story:
    """Tells a person. ``keep``: the folder stays, so that the end can say what to ask of it."""

    def __init__(self, out: TextIO, *, width: int | None = None) -> None:
        self._console = _console(out, width)
        self._cast: Cast | None = None

    def begin(self) -> None:
        """Before anything happens: what is about to be seen."""
        self._console.print("[bold]callspool demo[/]: the real daemon, six calls, and a CRM that misbehaves.")
        self._console.print("All on this machine, in a folder of its own. The speech is synthetic.\n", style="dim")

    def teller(self, cast: Cast) -> Callable[[float, Event], None]:
        """What tells each event."""
        self._cast = cast
        return self.tell

    def tell(self, at_s: float, event: Event) -> None:
        """One line for an event that needs one."""
        assert self._cast is not None
        call = self._cast.call_of(event)
        text, style = _told(event, call) or ("", "")
        if not text:
            return
        who = "world" if event.name.startswith("demo.") else "callspool"
        self._line(at_s, who, call, self._cast.masked(text), style)

    def _line(self, at_s: float, who: str, call: Call | None, text: str, style: str) -> None:
        from rich.text import Text

        line = Text.assemble((f"{at_s:5.2f}  ", "dim"))
        line.append(f"{who:<10}", style=_STYLES[who])
        line.append(f"{f'call {call.number}' if call else '':<8}", style="bold")
        line.append(text, style=style or "default")
        self._console.print(line, soft_wrap=True)

    def end(self, verdict: Verdict, elapsed_s: float, folder: str, *, keep: bool, forgetful: bool) -> None:
        """The table, the verdict, and what to try next."""
        self._console.print()
        self._console.print(_table(verdict))
        for line in verdict.lines:
            for wrong in line.wrong:
                self._console.print(f"call {line.call.number}: {wrong}", style="red")
        for wrong in verdict.wrong:
            self._console.print(wrong, style="red")
        self._console.print()
        self._console.print(_sentence(verdict, elapsed_s), style="bold green" if verdict.good else "bold red")
        if forgetful:
            self._console.print(FORGETFUL)
        self._console.print()
        for command, why in _next(verdict, folder, keep=keep, forgetful=forgetful):
            self._console.print(f"  [bold]{command:<26}[/]  [dim]{why}[/]", soft_wrap=True)


class JsonStory:
    """Tells a program: a JSON object for each event, and one of the whole at the end."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._cast: Cast | None = None

    def begin(self) -> None:
        """Nothing to say yet."""

    def teller(self, cast: Cast) -> Callable[[float, Event], None]:
        """What tells each event."""
        self._cast = cast
        return self.tell

    def tell(self, at_s: float, event: Event) -> None:
        """The event as it is, numbers masked, with the call it is about."""
        assert self._cast is not None
        call = self._cast.call_of(event)
        about = {} if call is None else {"call": call.number}
        document = {"at_s": round(at_s, 3), "event": event.name, **about, **event.fields}
        self._print(self._cast.masked(json.dumps(document, ensure_ascii=False)))

    def end(self, verdict: Verdict, elapsed_s: float, folder: str, *, keep: bool, forgetful: bool) -> None:
        """The whole in one object."""
        document: Json = {
            "event": "demo.finished",
            "exactly_once": verdict.good,
            "elapsed_s": round(elapsed_s, 3),
            "forgetful": forgetful,
            "folder": folder if keep else None,
            "wrong": list(verdict.wrong),
            "calls": [_as_json(line) for line in verdict.lines],
        }
        self._print(json.dumps(document))

    def _print(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()


FORGETFUL = (
    "A CRM that knows neither an id nor a key again takes in again what it took in before the line broke. "
    "Give callspool a way to ask it (crm.lookup_url), or let a person decide (crm.in_doubt: hold)."
)


def _told(event: Event, call: Call | None) -> Told:
    if event.name in _TELLINGS:
        return _TELLINGS[event.name](event.fields, call)
    if event.name.startswith("demo."):
        return str(event.fields.get("text", "")), ""
    if event.level in ("warning", "error"):
        return f"{event.name}: {event.fields.get('reason', '')}", "red"
    return None


def _table(verdict: Verdict) -> object:
    """What was written, what was measured, what the CRM was told and has."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("call")
    for heading in ("written", "measured", "CRM told", "uploads", "posts", "in the CRM"):
        table.add_column(heading, justify="right")
    for line in verdict.lines:
        call = line.call
        table.add_row(
            f"{call.number}  {call.title}",
            f"{call.seconds:.3f} s" if call.recording else "nothing",
            "" if line.measured_s is None else f"{line.measured_s:.3f} s",
            "" if line.told_s is None else f"{line.told_s} s",
            str(line.uploads),
            str(line.posts),
            {0: "missing", 1: "once"}.get(line.records, f"{line.records} times"),
            style="red" if line.wrong else "",
        )
    return table


def _sentence(verdict: Verdict, elapsed_s: float) -> str:
    calls = len(verdict.lines)
    if verdict.good:
        return f"All {calls} calls are in the CRM exactly once, right to the millisecond, in {elapsed_s:.1f} s."
    return f"{sum(1 for line in verdict.lines if line.wrong)} of {calls} calls did not arrive as they should."


def _next(verdict: Verdict, folder: str, *, keep: bool, forgetful: bool) -> list[tuple[str, str]]:
    """Commands worth trying now, each with what it shows."""
    found = []
    most = max(verdict.lines, key=lambda line: line.posts)
    if keep:
        found += [
            (f"cd {folder}", "here is everything, with a config.yaml"),
            ("callspool status", "what the ledger knows"),
            (f"callspool explain {most.subject}", f"call {most.call.number}: its files, decisions, posts"),
            ("ls processed_uploads", "a marker for each accepted transcript"),
        ]
    else:
        found.append(("callspool demo --keep", "keep the folder, to look around in"))
    if not forgetful:
        found.append(("callspool demo --forgetful", "what becomes of it when the CRM forgets"))
    found.append(("callspool doctor", "are your own folders and CRM ready?"))
    return found


def _as_json(line: Line) -> Json:
    return {
        "call": line.call.number,
        "about": line.call.title,
        "recording": line.call.masked_name if line.call.recording else None,
        "written_s": round(line.call.seconds, 6) if line.call.recording else None,
        "measured_s": line.measured_s,
        "told_s": line.told_s,
        "uploads": line.uploads,
        "posts": line.posts,
        "records": line.records,
        "wrong": list(line.wrong),
    }


def _console(out: TextIO, width: int | None) -> Console:
    from rich.console import Console

    if width is None and not out.isatty():
        width = PIPE_WIDTH
    return Console(file=out, width=width, highlight=False, emoji=False)
