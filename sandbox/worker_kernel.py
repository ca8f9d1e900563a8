"""Two filters that the Linux kernel keeps for an unprivileged process: Landlock and seccomp.

Both are set with three plain system calls, need no privilege once `no_new_privs` is on, and are
inherited by whatever the process might start. Landlock takes away every change to the file tree;
reading stays possible, because a compiler imports while it works. Seccomp refuses the system
calls by which a process could reach another process, the network or more of the kernel; they fail
with EPERM. Numbers are from the kernel's tables of the two architectures we name.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

LANDLOCK_CREATE, LANDLOCK_RESTRICT = 444, 446
LANDLOCK_VERSION_FLAG = 1
# Rights by bit: execute, write and all kinds of remove and make, then (later versions) refer and
# truncate. Reading files and folders (bits 2 and 3) is not taken away.
LANDLOCK_RIGHTS = {1: 0b1_1111_1111_0011, 2: 0b11_1111_1111_0011, 3: 0b111_1111_1111_0011}

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
LOAD_WORD, JUMP_EQUAL, JUMP_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, REFUSE = 0x7FFF_0000, 0x0005_0001  # errno 1, EPERM
NUMBER_OFFSET, ARCHITECTURE_OFFSET = 0, 4
X32_NUMBERS = 0x4000_0000  # a second table of the same calls, on x86_64 only

_EVERYWHERE = {
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "pidfd_open": 434,
    "clone3": 435,
    "pidfd_getfd": 438,
    "fchmodat2": 452,
}
_X86_64 = {
    "shmget": 29,
    "socket": 41,
    "connect": 42,
    "bind": 49,
    "listen": 50,
    "socketpair": 53,
    "clone": 56,
    "fork": 57,
    "vfork": 58,
    "execve": 59,
    "kill": 62,
    "semget": 64,
    "msgget": 68,
    "chmod": 90,
    "fchmod": 91,
    "chown": 92,
    "fchown": 93,
    "lchown": 94,
    "ptrace": 101,
    "rt_sigqueueinfo": 129,
    "mount": 165,
    "umount2": 166,
    "setxattr": 188,
    "lsetxattr": 189,
    "fsetxattr": 190,
    "tkill": 200,
    "tgkill": 234,
    "utimes": 235,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "fchownat": 260,
    "fchmodat": 268,
    "unshare": 272,
    "utimensat": 280,
    "rt_tgsigqueueinfo": 297,
    "perf_event_open": 298,
    "open_by_handle_at": 304,
    "setns": 308,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "bpf": 321,
    "execveat": 322,
    "userfaultfd": 323,
}
_AARCH64 = {
    "setxattr": 5,
    "lsetxattr": 6,
    "fsetxattr": 7,
    "umount2": 39,
    "mount": 40,
    "fchmod": 52,
    "fchmodat": 53,
    "fchownat": 54,
    "fchown": 55,
    "utimensat": 88,
    "unshare": 97,
    "ptrace": 117,
    "kill": 129,
    "tkill": 130,
    "tgkill": 131,
    "rt_sigqueueinfo": 138,
    "msgget": 186,
    "semget": 190,
    "shmget": 194,
    "socket": 198,
    "socketpair": 199,
    "bind": 200,
    "listen": 201,
    "connect": 203,
    "add_key": 217,
    "request_key": 218,
    "keyctl": 219,
    "clone": 220,
    "execve": 221,
    "rt_tgsigqueueinfo": 240,
    "perf_event_open": 241,
    "open_by_handle_at": 265,
    "setns": 268,
    "process_vm_readv": 270,
    "process_vm_writev": 271,
    "bpf": 280,
    "execveat": 281,
    "userfaultfd": 282,
}
REFUSED_CALLS = {  # machine: (the kernel's code of the architecture, numbers)
    "x86_64": (0xC000_003E, _X86_64 | _EVERYWHERE),
    "aarch64": (0xC000_00B7, _AARCH64 | _EVERYWHERE),
}


def libc() -> ctypes.CDLL:
    """The C library of this process, keeping errno."""
    return ctypes.CDLL(None, use_errno=True)


def deny_file_changes() -> str:
    """Take away every change to the file tree; "" when in force, else why not."""
    library = libc()
    version = library.syscall(LANDLOCK_CREATE, None, 0, LANDLOCK_VERSION_FLAG)
    if version < 1:
        return "the kernel has no Landlock"
    rights = ctypes.c_uint64(LANDLOCK_RIGHTS[min(version, max(LANDLOCK_RIGHTS))])
    size = ctypes.c_size_t(ctypes.sizeof(rights))
    rules = library.syscall(LANDLOCK_CREATE, ctypes.byref(rights), size, 0)
    if rules < 0:
        return os.strerror(ctypes.get_errno())
    refused = library.syscall(LANDLOCK_RESTRICT, rules, 0)
    note = os.strerror(ctypes.get_errno()) if refused else ""
    os.close(rules)
    return note


def deny_system_calls() -> str:
    """Refuse the calls of `REFUSED_CALLS`; "" when in force, else why not."""
    machine = platform.machine()
    if machine not in REFUSED_CALLS:
        return f"no table of system calls for {machine}"
    program = filter_program(*REFUSED_CALLS[machine])
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    refused = libc().prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0)
    return os.strerror(ctypes.get_errno()) if refused else ""


def filter_program(architecture: int, numbers: dict[str, int]) -> bytes:
    """Classic BPF: refuse another architecture's calls and the given numbers, allow the rest."""
    refused = sorted(set(numbers.values()))
    steps = [
        (LOAD_WORD, 0, 0, ARCHITECTURE_OFFSET),
        (JUMP_EQUAL, 0, len(refused) + 3, architecture),
        (LOAD_WORD, 0, 0, NUMBER_OFFSET),
        (JUMP_AT_LEAST, len(refused) + 1, 0, X32_NUMBERS),
    ]
    steps += [(JUMP_EQUAL, len(refused) - i, 0, n) for i, n in enumerate(refused)]
    steps += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
