"""For every test: how long an example takes is no claim of its test, speed is measured in ``tests/bench``.

Processes are started by the hundred, so what they load is compiled once, as it is where callspool is installed.
"""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile("callspool", deadline=None)
settings.load_profile("callspool")
