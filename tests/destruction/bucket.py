"""An S3 service that can be killed and started again: rclone's own ``serve s3`` over a folder, its objects files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from tests.support.s3 import ACCESS_KEY, BUCKET, SECRET_KEY, make_bucket

PROGRAM = Path(sys.executable).with_name("rclone")

PATIENCE_S = 20.0


class Bucket:
    """The service as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "s3"
        self._folder.mkdir()
        self._address = f"127.0.0.1:{20000 + os.getpid() % 20000}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def settings(self) -> dict[str, str]:
        """What makes the daemon use it."""
        return {
            "S3_BUCKET_NAME": BUCKET,
            "S3_ENDPOINT_URL": f"http://{self._address}",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "CALLSPOOL_STORAGE__RETRY": "[500ms, 1s, 2s]",
            "CALLSPOOL_STORAGE__S3__TIMEOUT": "3s",
        }

    def start(self) -> None:
        """Listen; returns once it answers."""
        argv = [str(PROGRAM), "serve", "s3", "--addr", self._address, "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"]
        self._process = subprocess.Popen(
            [*argv, "--vfs-cache-mode", "off", str(self._folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            if time.monotonic() > deadline:
                raise AssertionError("rclone does not answer")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            with contextlib.suppress(ClientError):  # it is there from before
                make_bucket(f"http://{self._address}")
        except BotoCoreError:
            return False
        return (self._folder / BUCKET).is_dir()

    def kill(self) -> None:
        """kill -9: whatever is under way there is cut."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def freeze(self, seconds: float) -> None:
        """It takes connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self._process.send_signal(signal.SIGCONT)

    def digests(self) -> set[str]:
        """The SHA-256 of every object."""
        found = (path for path in (self._folder / BUCKET).rglob("*") if path.is_file())
        return {hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
