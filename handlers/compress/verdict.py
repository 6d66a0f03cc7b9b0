"""Whether a copy is close enough to take the place of its source: figures and limits in, reason out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handlers.settings import VerifySettings


def refusal(figures: Mapping[str, Any], limits: VerifySettings) -> str:
    """Why the copy is refused, with the figure; empty where it is good. ``figures`` are those of the audio worker."""
    if figures["channels_differ"]:
        return "other channels"
    more, steady = figures["samples_more"], figures["correlation"] is None
    tests = (
        (abs(more) > limits.samples, f"{more:+d} samples"),
        (not steady and figures["correlation"] < limits.correlation, f"levels agree by {figures['correlation']}"),
        (steady and figures["mean_db"] > limits.steady_db, f"levels differ by {figures['mean_db']:.1f} dB"),
        (abs(figures["level_db"]) > limits.level_db, f"{figures['level_db']:+.1f} dB louder"),
        (
            figures["worst_second_db"] > limits.worst_second_db,
            f"a second differs by {figures['worst_second_db']:.1f} dB",
        ),
        (
            not figures["silent"] and figures["spectrum_db"] > limits.spectrum_db,
            f"its spectrum differs by {figures['spectrum_db']:.1f} dB",
        ),
        (figures["dropout_s"] > limits.dropout.total_seconds(), f"{figures['dropout_s']:.2f} s are gone"),
    )
    return "; ".join(what for failed, what in tests if failed)
