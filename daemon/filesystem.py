"""What kind of file system a path lies on, from the mount table. Leaf."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

NETWORK_TYPES = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|ncpfs|afs|9p|virtiofs|ceph|glusterfs|lustre|gpfs|beegfs|ocfs2|gfs2|afpfs|webdav|davfs"
    r"|fuse\.(sshfs|s3fs|rclone|gvfsd-fuse|glusterfs|ceph-fuse|davfs2|smbnetfs|osxfs|grpcfuse)"
)
"""Types whose other side is another machine: no events from there, no kernel locks to rely on."""

_OCTAL = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Filesystem:
    """Type as the mount table names it (``unknown`` where there is none), and whether another machine is behind it."""

    type: str
    network: bool


def filesystem_of(path: bytes, mountinfo: bytes | None = None) -> Filesystem:
    """The file system that ``path``, or its nearest existing parent, lies on. ``mountinfo`` is for tests."""
    if mountinfo is None:
        try:
            mountinfo = Path("/proc/self/mountinfo").read_bytes()
        except FileNotFoundError:  # no /proc: not Linux
            return Filesystem("unknown", network=False)
    real = os.path.realpath(path)
    best, kind = b"", "unknown"
    for line in mountinfo.splitlines():
        mount, found = _parse(line)
        inside = real == mount or real.startswith(mount.rstrip(b"/") + b"/")
        if inside and len(mount) >= len(best):  # the last of equals covers the earlier ones
            best, kind = mount, found
    return Filesystem(kind, network=NETWORK_TYPES.fullmatch(kind) is not None)


def _parse(line: bytes) -> tuple[bytes, str]:
    """Mount point and type of one line of mountinfo (proc(5): the type stands after the dash)."""
    fields = line.split(b" ")
    mount = _OCTAL.sub(lambda m: bytes([int(m[1], 8)]), fields[4])
    return mount, os.fsdecode(fields[fields.index(b"-") + 1])


def sync_folder(folder: str | bytes | os.PathLike[str]) -> None:
    """Have the names in a folder on the disk: a file that was renamed into it or removed stays so after a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
