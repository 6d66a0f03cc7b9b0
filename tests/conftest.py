"""For every test: how long an example takes is no claim of its test, speed is measured in ``tests/bench``."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("callspool", deadline=None)
settings.load_profile("callspool")
