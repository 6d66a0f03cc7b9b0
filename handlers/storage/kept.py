"""What a service was found to do, by asking it: never by its name. Shared by whoever talks to it in this process.

Each finding is one word: ``yes`` it does, ``no`` it refuses, ``ignored`` it says yes and does not, ``unknown`` nobody
asked. What is learned on the way (a 501 to a condition) is taken over at once.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

QUESTIONS = (
    "put",
    "metadata",
    "range",
    "multipart",
    "conditional",
    "conditional_multipart",
    "checksums",
    "encryption",
    "tags",
    "class",
    "delete",
)
"""What is asked, in this order."""


class Kept:
    """The findings, by question."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, str] = {}

    def says(self, question: str) -> str:
        """yes, no, ignored or unknown."""
        with self._lock:
            return self._found.get(question, "unknown")

    def learn(self, question: str, finding: str) -> None:
        """Something was learned by doing."""
        with self._lock:
            self._found[question] = finding

    def take(self, found: Mapping[str, Any] | None) -> None:
        """Take over what the ledger keeps; what this process learned since stands where the ledger says nothing."""
        if found is not None:
            with self._lock:
                self._found.update({name: str(found[name]) for name in QUESTIONS if name in found})
