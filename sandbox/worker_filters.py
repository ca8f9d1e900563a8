"""Two filters that the Linux kernel keeps for an unprivileged process: Landlock and seccomp.

Both are set with a few plain system calls, need no privilege once `no_new_privs` is on, and are
inherited by whatever the process might start. Landlock takes away the file tree, the network and,
where the kernel can, signals and abstract sockets beyond the process itself; seccomp leaves the
calls of `worker_calls` and kills for the rest. Neither needs a namespace, so both work in ordinary
containers.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterable

from sandbox.worker_calls import allowed, filter_program

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446  # the same numbers on every architecture
_VERSION_FLAG, _PATH_BENEATH = 1, 1
# Rights by bit and by the Landlock version that first knows them: files, TCP, scopes.
_FILES = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
_TCP = {4: 0b11}  # bind, connect
_SCOPES = {6: 0b11}  # abstract sockets, signals
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2


class LayerMissing(Exception):
    """A layer of isolation that the system refuses, and why in a few words."""


def libc() -> ctypes.CDLL:
    """The C library of this process, keeping errno."""
    return ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> int:
    """A system call's result.

    Raises:
        LayerMissing: it failed; the reason is the system's.
    """
    if result < 0:
        raise LayerMissing(os.strerror(ctypes.get_errno()))
    return result


def forbid_files(readable: Iterable[str]) -> str:
    """Leave these folders for reading, and nothing else of the file tree; says by what.

    Raises:
        LayerMissing: the kernel has no Landlock, or refuses.
    """
    library = libc()
    version = library.syscall(_CREATE, None, 0, _VERSION_FLAG)
    if version < 1:
        raise LayerMissing("the kernel has no Landlock")
    rights = [_newest(known, version) for known in (_FILES, _TCP, _SCOPES)]
    attributes = struct.pack("=QQQ", *rights)
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = checked(library.syscall(_CREATE, attributes, ctypes.c_size_t(size), 0))
    try:
        for path in readable:
            _let_read(library, rules, path)
        checked(library.syscall(_RESTRICT, rules, 0))
    finally:
        os.close(rules)
    return f"Landlock {version}"


def _newest(known: dict[int, int], version: int) -> int:
    return max((rights for since, rights in known.items() if since <= version), default=0)


def _let_read(library: ctypes.CDLL, rules: int, path: str) -> None:
    """One folder or file for reading; one that does not exist needs no rule."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = _READ_FILE | (_READ_FOLDER if os.path.isdir(path) else 0)
        rule = struct.pack("=Qi", rights, descriptor)
        checked(library.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0))
    finally:
        os.close(descriptor)


def forbid_calls(reads: bool) -> str:
    """Leave the system calls of a child; says how many.

    Raises:
        LayerMissing: no table for this machine, or the kernel refuses.
    """
    machine = platform.machine()
    program = filter_program(machine, reads)
    if program is None:
        raise LayerMissing(f"no table of system calls for {machine}")
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    checked(libc().prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0))
    return f"{len(allowed(reads))} calls"
