"""The folders that the configuration names: each for one purpose, none inside another.

What callspool writes into a watched folder would be found there as if somebody had dropped it. A section marks the
settings that name such a folder with ``OwnFolder``, as metadata of the annotation; the configuration's loader finds
the marks and holds the rule. Leaf.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path


@dataclass(frozen=True, slots=True)
class OwnFolder:
    """Marks a setting that names a folder which shares nothing with any other that is marked."""


def folder(given: str) -> str:
    """The name of a folder, as it was given; raises ValueError for what can be none."""
    if not given or "\0" in given:
        raise ValueError("a folder")
    return given


def overlaps(folders: Mapping[str, Path]) -> list[tuple[str, str]]:
    """The pairs of names whose folders are one, or lie one inside the other, whatever links lead there."""
    real = {name: os.path.join(os.path.realpath(folder), "") for name, folder in folders.items()}
    return [
        (one, other)
        for one, other in combinations(real, 2)
        if real[one].startswith(real[other]) or real[other].startswith(real[one])
    ]
