"""The utterances the package carries; ``speech/README.md`` says where they come from."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from handlers.demo import sound


@dataclass(frozen=True, slots=True)
class Line:
    """One utterance: ``name`` is its file's stem, ``voice`` who speaks it, ``text`` what is said."""

    name: str
    voice: str
    text: str

    @property
    def role(self) -> str:
        """The speaker's role as transcripts have it."""
        return "assistant" if self.name.startswith("agent-") else "user"

    def samples(self) -> array[int]:
        """The utterance, mono 16-bit at ``sound.RATE``."""
        return _samples(self.name)


@cache
def lines() -> Mapping[str, Line]:
    """Every utterance by its name."""
    table = (_FOLDER / "lines.tsv").read_text("utf-8").splitlines()
    return {name: Line(name, voice, text) for name, voice, text in csv.reader(table, delimiter="\t")}


@cache
def _samples(name: str) -> array[int]:
    with (_FOLDER / f"{name}.ogg").open("rb") as file:
        return sound.decode(file)


_FOLDER = files("handlers.demo") / "speech"
