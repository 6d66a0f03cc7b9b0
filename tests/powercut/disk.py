"""A disk that remembers every write and flush, so that it can be shown as any power cut would have left it.

ext4 lies on a loop device over a file that ``qemu-storage-daemon`` exports by FUSE; its ``blklogwrites`` filter keeps a
log in the format of dm-log-writes, which needs no kernel module. What was promised by then stands in the same log:
a mark is a write behind the file system.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
FILE_SYSTEM, WHOLE = 96 * MIB, 104 * MIB
MARK_AT, MARK = FILE_SYSTEM + MIB, b"ACK!"
SECTOR, MAGIC = 512, 0x6A736677736872
FLUSH, FUA, DISCARD = 1, 2, 4

PROGRAMS = ("qemu-storage-daemon", "mkfs.ext4", "mount", "fusermount3")
PATIENCE_S = 20.0


def why_not() -> str:
    """Why it cannot be had here; empty where it can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if os.geteuid() != 0:
        return "only root can mount"
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: qemu-system-common fuse3)"
    return "" if os.path.exists("/dev/fuse") else "there is no /dev/fuse"


@dataclass(frozen=True, slots=True)
class Write:
    """One entry of the log: ``mark`` is how much was promised by then, None for a write of the file system."""

    offset: int
    flags: int
    data: bytes
    mark: int | None


class LoggedDisk:
    """The disk, mounted at ``mounted`` while it is written; the crash images are mounted there too, afterwards."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.mounted = folder / "m"
        self.mounted.mkdir()
        for name, size in (("disk.raw", WHOLE), ("log.raw", 4096 * MIB)):
            with open(folder / name, "wb") as file:
                file.truncate(size)
        (folder / "exported").touch()
        self._daemon = subprocess.Popen(self._words())
        self._await_export()
        _run("mkfs.ext4", "-q", "-F", str(folder / "exported"), f"{FILE_SYSTEM // 1024}k")
        _run("mount", "-o", "loop", str(folder / "exported"), str(self.mounted))
        self._marks = os.open(folder / "exported", os.O_WRONLY)
        self._said = self._shown_before = 0

    def mark(self, count: int) -> None:
        """From here on so much is promised."""
        if count > self._said:
            self._said = count
            os.pwrite(self._marks, MARK + struct.pack("<Q", count) + bytes(SECTOR - 12), MARK_AT)

    def end(self) -> None:
        """No more writes."""
        os.close(self._marks)
        _run("umount", str(self.mounted))
        self._daemon.terminate()
        self._daemon.wait(PATIENCE_S)

    def writes(self) -> Iterator[Write]:
        """The log, in order."""
        with open(self._folder / "log.raw", "rb") as log:
            magic, _version, count, sector = struct.unpack("<QQQI", log.read(28))
            assert (magic, sector) == (MAGIC, SECTOR)
            at = SECTOR
            for _ in range(count):
                log.seek(at)
                first, sectors, flags, _length = struct.unpack("<QQQQ", log.read(32))
                at += SECTOR
                data = b""
                if sectors and not flags & DISCARD:
                    log.seek(at)
                    data = log.read(sectors * SECTOR)
                    at += sectors * SECTOR
                mark = struct.unpack("<Q", data[4:12])[0] if data[:4] == MARK else None
                yield Write(first * SECTOR, flags, data, mark)

    def cuts(self, points: int, chance: random.Random, *, reordered: bool) -> Iterator[tuple[int, int]]:
        """Mount the disk as cuts at random points leave it; yields the point and how much was promised by then.

        In order, everything written by then is there. Reordered, of what was written since the last flush a random
        half is, as a disk's own cache may leave it.
        """
        log = list(self.writes())
        first = next(at for at, one in enumerate(log) if one.mark is not None)
        chosen = sorted(chance.sample(range(first, len(log)), min(points, len(log) - first)))
        base = self._folder / "base.raw"
        with open(base, "wb+") as file:
            file.truncate(WHOLE)
            applied, promised = 0, 0
            volatile: list[Write] = []
            for point in chosen:
                for one in log[applied : point + 1]:
                    promised = promised if one.mark is None else one.mark
                    volatile += [one] if one.mark is None else []
                    if one.flags & FLUSH:
                        _apply(file.fileno(), volatile)
                        volatile = []
                applied = point + 1
                left = [one for one in volatile if not reordered or one.flags & FUA or chance.random() < 0.5]
                yield from self._shown(base, left, point, promised)

    def _shown(self, base: Path, left: Sequence[Write], point: int, promised: int) -> Iterator[tuple[int, int]]:
        # A file of its own each time: a loop device that is let go late would show what it remembers of the last.
        self._shown_before += 1
        image = self._folder / f"cut-{self._shown_before}.raw"
        _run("cp", "--sparse=always", str(base), str(image))
        with open(image, "rb+") as file:
            _apply(file.fileno(), left)
        _run("mount", "-o", "loop", str(image), str(self.mounted))
        try:
            yield point, promised
        finally:
            _run("umount", str(self.mounted))
            image.unlink()

    def _words(self) -> list[str]:
        folder = self._folder
        nodes = (
            f"driver=file,node-name=f,filename={folder}/disk.raw",
            "driver=raw,node-name=r,file=f",
            f"driver=file,node-name=lf,filename={folder}/log.raw",
            "driver=raw,node-name=l,file=lf",
            f"driver=blklogwrites,node-name=lw,file=r,log=l,log-sector-size={SECTOR}",
        )
        words = ["qemu-storage-daemon", *(word for node in nodes for word in ("--blockdev", node))]
        return [*words, "--export", f"type=fuse,id=e,node-name=lw,mountpoint={folder}/exported,writable=on"]

    def _await_export(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while os.stat(self._folder / "exported").st_size != WHOLE:
            assert time.monotonic() < deadline, "qemu-storage-daemon exports nothing"
            time.sleep(0.02)


def _apply(fd: int, writes: Sequence[Write]) -> None:
    for one in writes:
        if one.data:
            os.pwrite(fd, one.data, one.offset)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.stderr.strip()}")
