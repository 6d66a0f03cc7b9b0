"""Fills the small disk it is given, below a ledger at work, and frees it again.

Run by the tests in a mount namespace of its own: ``full_disk.py FOLDER``.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from tests.support.ledger import Noted, toy


def fill(path: Path) -> None:
    """Write until the disk takes no more."""
    with path.open("wb", buffering=0) as ballast:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    ballast.write(b"\0" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def main(folder: Path) -> None:
    with toy(folder, start=False, retry_s=0.02) as house:
        fill(folder / "ballast")
        futures = [house.ledger.writer.submit("test.note", Noted(f"{'n' * 1000}{n}").write) for n in range(200)]
        house.until(lambda: "ledger.paused" in house.names())
        print("paused")
        os.unlink(folder / "ballast")
        for future in futures:
            future.result(20)
        house.until(lambda: "ledger.resumed" in house.names())
        print("resumed")
    with toy(folder, start=False) as house:
        print("all" if len(house.noted()) == 200 else len(house.noted()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
