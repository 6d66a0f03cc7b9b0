"""Memory that many threads share: each waits until as much is free as it needs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Budget:
    """``size`` bytes; whoever asks for more than all of them gets all of them, alone."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._spare: list[bytearray] = []
        self._changed = threading.Condition()

    @contextmanager
    def of(self, size: int) -> Iterator[None]:
        """Hold this many bytes while inside."""
        held = self.take(size)
        try:
            yield
        finally:
            self.give(held)

    def lend(self, size: int) -> bytearray:
        """Wait for a buffer of so many bytes. Buffers are used again: thrown away by many threads, they would lie in as
        many heaps, and the process grow to twice the budget."""
        self.take(size)
        with self._changed:
            if self._spare and len(self._spare[-1]) != size:
                self._spare.clear()
            return self._spare.pop() if self._spare else bytearray(size)

    def take_back(self, buffer: bytearray) -> None:
        """Nobody reads it any more."""
        with self._changed:
            if (len(self._spare) + 1) * len(buffer) <= self._size:
                self._spare.append(buffer)
        self.give(min(len(buffer), self._size))

    def take(self, size: int) -> int:
        """Wait for this many bytes; returns how many are to be given back."""
        held = min(size, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= held)
            self._free -= held
        return held

    def give(self, held: int) -> None:
        """Give them back."""
        with self._changed:
            self._free += held
            self._changed.notify_all()
