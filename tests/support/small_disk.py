"""A small disk of a daemon's own, where a user's mount namespace with a tmpfs is permitted."""

from __future__ import annotations

import subprocess

REFUSED = "unshare -Urm with a tmpfs is not permitted here"


def small_disk(folder: str, size: str) -> tuple[str, ...]:
    """The words before a command that give it a disk of this size (as ``mount -o size=`` has it) under a folder."""
    mount = f"mkdir -p {folder} && mount -t tmpfs -o size={size} tmpfs {folder}"
    return ("unshare", "-Urm", "sh", "-c", f'{mount} && exec "$@"', "sh")


def may_mount() -> bool:
    """Whether that is permitted here."""
    try:
        script = ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
        return subprocess.run(script, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
