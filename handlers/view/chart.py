"""Drawings as SVG, without a script: hours by day, and a recording's waveform. Pure; every number is our own."""

from __future__ import annotations

from collections.abc import Sequence

CHART_WIDTH, CHART_HEIGHT, FOOT = 720, 120, 18
WAVE_WIDTH, WAVE_HEIGHT = 160, 28


def hours_by_day(days: Sequence[tuple[str, float]]) -> str:
    """Bars, one a day, oldest first, each with its title; the highest day fills the height."""
    if not days:
        return ""
    highest = max(hours for _, hours in days)
    step = CHART_WIDTH / len(days)
    bars = []
    for nth, (date, hours) in enumerate(days):
        tall = 0.0 if highest <= 0 else max(1.0 if hours else 0.0, hours / highest * CHART_HEIGHT)
        bars.append(
            f'<rect class="bar" x="{nth * step + 1:.1f}" y="{CHART_HEIGHT - tall:.1f}" width="{step - 2:.1f}" '
            f'height="{tall:.1f}"><title>{date}: {hours:,.2f} h</title></rect>'
        )
    ends = (
        f'<text x="0" y="{CHART_HEIGHT + FOOT - 4}">{days[0][0]}</text>'
        f'<text x="{CHART_WIDTH}" y="{CHART_HEIGHT + FOOT - 4}" text-anchor="end">{days[-1][0]}</text>'
    )
    said = f"Hours on each of {len(days)} days, at most {highest:,.2f} on one; {days[-1][1]:,.2f} on the last."
    return (
        f'<svg class="chart" viewBox="0 0 {CHART_WIDTH} {CHART_HEIGHT + FOOT}" role="img" aria-label="{said}">'
        f'<line x1="0" x2="{CHART_WIDTH}" y1="{CHART_HEIGHT}" y2="{CHART_HEIGHT}"/>{"".join(bars)}{ends}</svg>'
    )


def waveform(peaks: Sequence[float], call: str, part: str = "") -> str:
    """One path around the middle; ``peaks`` are between 0 and 1. Nothing where there are none. ``part`` says which
    part is drawn."""
    if not peaks:
        return ""
    step, middle = WAVE_WIDTH / len(peaks), WAVE_HEIGHT / 2
    strokes = " ".join(
        f"M{(nth + 0.5) * step:.1f} {middle - max(0.5, min(1.0, peak) * middle):.1f}"
        f"V{middle + max(0.5, min(1.0, peak) * middle):.1f}"
        for nth, peak in enumerate(peaks)
    )
    return (
        f'<svg class="wave" viewBox="0 0 {WAVE_WIDTH} {WAVE_HEIGHT}" role="img" '
        f'aria-label="Waveform of {call}{part}"><path d="{strokes}"/></svg>'
    )
