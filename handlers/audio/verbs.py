"""``callspool inspect``. Imported by the command line alone, since Typer is slow to load."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.contract import Desk, Json
from daemon.errors import ContentError
from handlers.model import AudioUnavailable, AudioUnreadable

if TYPE_CHECKING:
    from handlers.audio.pool import Inspection, Prober

COLUMNS = 72
"""Characters of a waveform."""

MEASURED = ("container", "codec", "channels", "sample_rate", "bitrate", "media_s", "span_s", "declared_s")
"""What is null where a file cannot be read."""

_BARS = " ▁▂▃▄▅▆▇█"
_FLOOR_DB = -54.0


def verbs(desk: Desk) -> typer.Typer:
    """``inspect``, beside the machine's own verbs."""
    group = typer.Typer()

    @group.command("inspect")
    def inspect(
        files: Annotated[list[str], typer.Argument(help="Audio files.", metavar="FILE…")],
        quick: Annotated[bool, typer.Option("--quick", help="Lengths alone: listen to nothing.")] = False,
    ) -> int:
        """What is known of any audio file: container, codec, exact length, doubts, waveform; --json: a line each."""
        from handlers.audio.pool import Prober

        failed = False
        with Prober(limits=desk.config.audio.limits()) as prober:
            for name in files:
                told, looked = _looked_at(prober, name, quick=quick)
                failed = failed or told["error"] is not None
                sys.stdout.flush()
                desk.show(told, text(told, () if looked is None else looked.course))
        return 3 if failed else 0

    return group


def _looked_at(prober: Prober, name: str, *, quick: bool) -> tuple[dict[str, Json], Inspection | None]:
    """What is known of one file; a file that cannot be read is told as such."""
    from handlers.audio.pool import Inspection

    try:
        path = os.fsencode(os.path.abspath(name))
        found = Inspection(prober.measure(path), None, ()) if quick else prober.inspect(path, COLUMNS)
    except (AudioUnreadable, AudioUnavailable, ContentError) as error:
        return told_of(name, None, str(error)), None
    return told_of(name, found, None), found


def told_of(name: str, found: Inspection | None, error: str | None) -> dict[str, Json]:
    """What ``--json`` prints of one file; seconds are exact to the sample, ``bitrate`` is in bits a second."""
    told: dict[str, Json] = {"path": name, **dict.fromkeys(MEASURED), "flags": [], "error": error}
    if found is not None:
        info = found.info
        told |= {"container": info.container, "codec": info.codec, "channels": info.channels}
        told |= {"sample_rate": info.sample_rate, "bitrate": found.bitrate, "declared_s": info.header_s}
        told |= {"media_s": round(info.media_s, 6), "span_s": round(info.span_s, 6), "flags": list(info.flags)}
    return told


def text(told: dict[str, Json], course: Sequence[float]) -> str:
    """The same for a person, with the waveform."""
    if told["error"] is not None:
        return f"{told['path']}\n  cannot be read: {told['error']}"
    declared = "none" if told["declared_s"] is None else f"{told['declared_s']:.3f} s"
    bitrate = f", {told['bitrate'] // 1000} kbit/s" if isinstance(told["bitrate"], int) else ""
    flags = told["flags"]
    lines = [
        str(told["path"]),
        f"  {told['container']} / {told['codec']}, {told['channels']} channel(s), {told['sample_rate']} Hz{bitrate}",
        f"  {told['media_s']:.3f} s of audio over {told['span_s']:.3f} s; the header says: {declared}",
    ]
    if flags:
        lines.append(f"  flags: {', '.join(map(str, flags))}" if isinstance(flags, list) else "")
    return "\n".join([*lines, f"  {waveform(course)}"] if course else lines)


def waveform(course: Sequence[float]) -> str:
    """One character for each level, from silence to full scale."""
    steps = len(_BARS) - 1
    places = [min(steps, max(0, round((level - _FLOOR_DB) / -_FLOOR_DB * steps))) for level in course]
    return "".join(_BARS[place] for place in places)
