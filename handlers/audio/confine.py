"""No network and no other program for the process that touches codecs: a seccomp filter, where the kernel has them.

A decoder that a hostile file has taken over could ask the kernel for anything the daemon's user may do. What it is
given arrives over one socket that is open already, so nothing honest is lost. On other systems the limits alone hold.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys
from typing import NamedTuple

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER_AT, _ARCH_AT = 0, 4
_X32 = 0x40000000
"""System calls of x86_64 from this number on are those of another ABI."""


class Machine(NamedTuple):
    """The kernel's name for a machine, and the numbers there of what is refused."""

    audit: int
    refused: tuple[int, ...]


MACHINES = {
    # socket, connect, bind, listen, socketpair; execve, execveat; ptrace, process_vm_readv and _writev; io_uring_setup
    "x86_64": Machine(0xC000003E, (41, 42, 49, 50, 53, 59, 322, 101, 310, 311, 425)),
    "aarch64": Machine(0xC00000B7, (198, 203, 200, 201, 199, 221, 281, 117, 270, 271, 425)),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def confine() -> bool:
    """Refuse network and programs to this process from now on; False where the system knows no such thing."""
    machine = MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    code = program(machine)
    given = _Program(len(code) // 8, code)
    return bool(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(given), 0, 0) == 0)


def program(machine: Machine) -> bytes:
    """The filter: another machine's calls end the process, what is refused fails with EACCES, all else passes."""
    count = len(machine.refused)
    steps = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, count + 1, 0, _X32),
        *((_EQUAL, count - place, 0, number) for place, number in enumerate(machine.refused)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EACCES),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
