"""What a process gives up before it runs an unapproved policy, and the list of what it managed.

Each layer is tried by itself. One that the system refuses is reported as missing with the reason
in a few words, so that the parent can say so; nothing here raises. Linux first: elsewhere the
rlimits work and the rest is reported as missing.

What is left: a process that breaks out of the policy language can still read the files that its
user may read, and tell nobody.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.worker_kernel import deny_file_changes, deny_system_calls, libc

NOBODY = 65534
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWIPC = 0x1000_0000, 0x4000_0000, 0x0800_0000
CAPABILITY_VERSION_3 = 0x2008_0522


@dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings of one process that runs candidates.

    Attributes:
        memory_bytes: address space; a compiler needs gigabytes of it, mostly untouched.
        cpu_s: processor time over the process's life.
        open_files: descriptors.
    """

    memory_bytes: int = 4 << 30
    cpu_s: int = 3600
    open_files: int = 16


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of isolation: in force, or missing and why."""

    name: str
    in_force: bool
    note: str = ""


def lock_down(limits: Limits, parent_pid: int) -> list[Layer]:
    """Give up everything that scoring a policy does not need; cannot be undone.

    Args:
        limits: the ceilings.
        parent_pid: the process is killed when this one dies.
    """
    steps: list[tuple[str, Callable[[], str]]] = [
        ("own process group", _own_group),
        ("no network", _leave_network),
        ("unprivileged user", _become_nobody),
        ("no capabilities", _drop_capabilities),
        ("no new privileges", lambda: _prctl(PR_SET_NO_NEW_PRIVS, 1)),
        ("no changes to files", deny_file_changes),
        ("not traceable", lambda: _prctl(PR_SET_DUMPABLE, 0)),
        ("dies with its parent", lambda: _die_with(parent_pid)),
        ("no environment", _clear_environment),
        ("no core dump", lambda: _limit(resource.RLIMIT_CORE, 0)),
        ("no file writes", lambda: _limit(resource.RLIMIT_FSIZE, 0)),
        ("few descriptors", lambda: _limit(resource.RLIMIT_NOFILE, limits.open_files)),
        ("bounded memory", lambda: _limit(resource.RLIMIT_AS, limits.memory_bytes)),
        ("bounded processor time", lambda: _limit(resource.RLIMIT_CPU, limits.cpu_s)),
        ("few system calls", deny_system_calls),
        ("no new processes", _forbid_processes),
    ]
    return [_attempt(name, step) for name, step in steps]


def _attempt(name: str, step: Callable[[], str]) -> Layer:
    """Take one step; it answers "" when the layer holds, else why it does not."""
    try:
        note = step()
    except (OSError, ValueError, AttributeError) as error:
        note = str(error)
    return Layer(name, not note, note[:80])


def _checked(result: int) -> str:
    return os.strerror(ctypes.get_errno()) if result != 0 else ""


def _own_group() -> str:
    os.setpgid(0, 0)
    return ""


def _leave_network() -> str:
    """Enter an empty network namespace; without privilege, inside a new user namespace."""
    if not sys.platform.startswith("linux"):
        return "needs Linux"
    library = libc()
    flags = CLONE_NEWNET | CLONE_NEWIPC
    if os.geteuid() == 0 and library.unshare(flags) == 0:
        return ""
    return _checked(library.unshare(CLONE_NEWUSER | flags))


def _become_nobody() -> str:
    """Leave root, unless others may not read the interpreter; another user keeps its own id."""
    if os.geteuid() != 0:
        return ""
    for folder in (os.path.dirname(os.__file__), os.path.dirname(__file__), *sys.path):
        if closed := _closed_to_others(os.path.realpath(folder)):
            return f"only root may read {closed}"
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    return ""


def _closed_to_others(path: str) -> str:
    """The first folder on the way to `path` that other users may not enter; "" when none."""
    while os.path.exists(path):
        if os.path.isdir(path) and not os.stat(path).st_mode & stat.S_IXOTH:
            return path
        if path == os.path.dirname(path):
            break
        path = os.path.dirname(path)
    return ""


def _drop_capabilities() -> str:
    """Clear every capability set, those of a user namespace included."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    return _checked(libc().capset(header, (ctypes.c_uint32 * 6)()))


def _prctl(option: int, value: int) -> str:
    return _checked(libc().prctl(option, ctypes.c_ulong(value), 0, 0, 0))


def _die_with(parent_pid: int) -> str:
    """Ask for SIGKILL at the parent's end; leave at once when it ended before the request."""
    note = _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)
    return note


def _clear_environment() -> str:
    os.environ.clear()
    return ""


def _limit(kind: int, ceiling: int) -> str:
    """Lower soft and hard limit; a hard limit that is lower already stays."""
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        ceiling = min(ceiling, hard)
    resource.setrlimit(kind, (ceiling, ceiling))
    return ""


def _forbid_processes() -> str:
    """No fork, no thread, by whatever holds: the limit exempts root, the filter nobody."""
    _limit(resource.RLIMIT_NPROC, 0)
    try:
        pid = os.fork()
    except OSError:
        return ""
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "the system still forks"
