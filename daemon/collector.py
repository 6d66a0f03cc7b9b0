"""How often Python's collector looks for objects that only refer to one another.

By default it looks whenever 700 more were made than freed, and ever again at most of what is kept. Rooms keep hundreds
of thousands of objects that are dear to find out, make millions that go without its help, and hardly any that refer to
one another: it took a third of the time of deciding in a crowd (``tests/bench/match_million.py`` has it in figures).
"""

from __future__ import annotations

import gc

ALLOCATIONS = 50_000
"""Objects made beyond those freed until the collector looks at them: some megabytes at most that wait for it."""


def look_seldom() -> None:
    """Have the collector look seldom, and never at what is there already: modules, settings, rooms."""
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, 10, 10)
