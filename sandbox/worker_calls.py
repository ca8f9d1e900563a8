"""The system calls that are left to a child, and the filter that kills it for any other.

A warm interpreter that simulates needs memory, its one socket and the clock. What it may ask in
passing (where it is, whether a terminal listens, a module that is imported late) is answered with
EPERM, so that an honest job fails with a place in its code instead of a dead process. A compiler
may, besides, open files for reading; which, is Landlock's to say. Numbers are from the kernel's
tables of the two architectures we name.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping

# name: (x86_64, aarch64); None where the architecture has no such call
_NUMBERS: Mapping[str, tuple[int | None, int | None]] = {
    "access": (21, None),
    "brk": (12, 214),
    "clock_gettime": (228, 113),
    "close": (3, 57),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "faccessat": (269, 48),
    "fcntl": (72, 25),
    "fstat": (5, 80),
    "futex": (202, 98),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "getpid": (39, 172),
    "getrandom": (318, 278),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "ioctl": (16, 29),
    "lseek": (8, 62),
    "lstat": (6, None),
    "madvise": (28, 233),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "newfstatat": (262, 79),
    "open": (2, None),
    "openat": (257, 56),
    "pread64": (17, 67),
    "read": (0, 63),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "recvfrom": (45, 207),
    "restart_syscall": (219, 128),
    "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124),
    "sendto": (44, 206),
    "stat": (4, None),
    "statx": (332, 291),
    "write": (1, 64),
}
COMPUTES = (
    "brk", "clock_gettime", "exit", "exit_group", "futex", "getrandom", "gettimeofday", "madvise",
    "mmap", "mprotect", "mremap", "munmap", "recvfrom", "restart_syscall", "rt_sigreturn",
    "sched_yield", "sendto",
)  # fmt: skip
READS = (
    "access", "close", "faccessat", "fcntl", "fstat", "getcwd", "getdents64", "lseek", "lstat",
    "newfstatat", "openat", "pread64", "read", "readlink", "readlinkat", "stat", "statx",
)  # fmt: skip
ASKS = (*READS, "getpid", "gettid", "ioctl", "open", "write")  # what EPERM answers

ARCHITECTURES: Mapping[str, tuple[int, int]] = {  # machine: the kernel's code, our column
    "x86_64": (0xC000_003E, 0),
    "aarch64": (0xC000_00B7, 1),
}
_X32_NUMBERS = 0x4000_0000  # a second table of the same calls, on x86_64 only

_LOAD_WORD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE, _KILL_PROCESS = 0x7FFF_0000, 0x0005_0001, 0x8000_0000  # errno 1, EPERM
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _THIRD_ARGUMENT_OFFSET = 0, 4, 32
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
Step = tuple[int, int, int, int]  # code, jump if true, jump if false, value


def allowed(reads: bool) -> tuple[str, ...]:
    """Names of the calls that a child may make."""
    return (*COMPUTES, *READS) if reads else COMPUTES


def filter_program(machine: str, reads: bool) -> bytes | None:
    """Classic BPF: allow what a child needs, EPERM what it may ask, and kill it for the rest.

    None for a machine without a table.
    """
    if machine not in ARCHITECTURES:
        return None
    architecture, column = ARCHITECTURES[machine]
    may = _numbers(allowed(reads), column)
    asks = _numbers(set(ASKS) - set(allowed(reads)), column)
    openat = _numbers(["openat"], column)[0]
    steps: list[Step] = [
        (_LOAD_WORD, 0, 0, _ARCHITECTURE_OFFSET),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD_WORD, 0, 0, _NUMBER_OFFSET),
        (_JUMP_AT_LEAST, 0, 1, _X32_NUMBERS),
        (_RETURN, 0, 0, _KILL_PROCESS),
    ]
    if reads:
        may.remove(openat)
        steps += _open_for_reading(openat)
    steps += _answers(may, _ALLOW) + _answers(asks, _REFUSE)
    steps.append((_RETURN, 0, 0, _KILL_PROCESS))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _numbers(names: Iterable[str], column: int) -> list[int]:
    found = (_NUMBERS[name][column] for name in names)
    return sorted(number for number in found if number is not None)


def _answers(numbers: Iterable[int], answer: int) -> list[Step]:
    return [
        step
        for number in numbers
        for step in ((_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, answer))
    ]


def _open_for_reading(openat: int) -> list[Step]:
    """Allow `openat` unless its flags write, create or cut."""
    return [
        (_JUMP_EQUAL, 0, 4, openat),
        (_LOAD_WORD, 0, 0, _THIRD_ARGUMENT_OFFSET),
        (_JUMP_ANY_BIT, 0, 1, _WRITES),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
