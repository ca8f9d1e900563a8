"""What a process gives up before it runs an unapproved policy, and the list of what it managed.

Each layer is tried by itself. One that the system refuses is reported as missing with the reason
in a few words, so that the parent can refuse to go on; nothing here raises. No layer needs a
privilege or a namespace: all of them hold for an ordinary user and in ordinary containers. Linux
first: elsewhere the rlimits work and the rest is missing.

What is left to such a process: its own memory, the clock, and one socket to its parent.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sandbox.worker_filters import LayerMissing, checked, forbid_calls, forbid_files, libc

NOBODY = 65534
CHANNEL = 0  # the descriptor that is left
READERS_DESCRIPTORS = 16
MOST_DESCRIPTORS = 1 << 20  # the kernel's own ceiling
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
CAPABILITY_VERSION_3 = 0x2008_0522


@dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings of one process that runs candidates.

    Attributes:
        memory_bytes: address space; a compiler needs gigabytes of it, mostly untouched.
        cpu_s: processor time over the process's life.
    """

    memory_bytes: int = 4 << 30
    cpu_s: int = 3600


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of isolation: in force and by what, or missing and why."""

    name: str
    in_force: bool
    note: str = ""

    @property
    def sentence(self) -> str:
        """One sentence for people."""
        what = f"{self.name}: {LAYERS[self.name]}"
        if not self.in_force:
            return f"isolation without {what} ({self.note})"
        return f"{what} ({self.note})" if self.note else what


Step = Callable[[], str]


def lock_down(
    limits: Limits, parent_pid: int, readable: Iterable[str] = (), kept_open: int = CHANNEL + 1
) -> list[Layer]:
    """Give up everything that a job does not need; cannot be undone.

    Descriptor `CHANNEL` is the socket to the parent.

    Args:
        limits: the ceilings.
        parent_pid: the process is killed when this one dies.
        readable: folders that may be read; without any, no file is opened any more.
        kept_open: descriptors from 0 on that stay.
    """
    folders = list(readable)
    most = kept_open + (READERS_DESCRIPTORS if folders else 0)
    steps: list[tuple[str, Step]] = [
        ("group", _own_group),
        ("environment", _clear_environment),
        ("privileges", lambda: _prctl(PR_SET_NO_NEW_PRIVS, 1)),
        ("files", lambda: forbid_files(folders)),
        ("descriptors", lambda: _close_all_but(kept_open, most)),
        ("user", _become_nobody),
        ("capabilities", _drop_capabilities),
        ("tracing", lambda: _prctl(PR_SET_DUMPABLE, 0)),
        ("parent", lambda: _die_with(parent_pid)),
        ("core", lambda: _limit(resource.RLIMIT_CORE, 0)),
        ("writes", lambda: _limit(resource.RLIMIT_FSIZE, 0)),
        ("memory", lambda: _limit(resource.RLIMIT_AS, limits.memory_bytes)),
        ("processor", lambda: _limit(resource.RLIMIT_CPU, limits.cpu_s)),
        ("processes", _forbid_processes),
        ("calls", lambda: forbid_calls(reads=bool(folders))),
    ]
    return [_attempt(name, step) for name, step in steps]


LAYERS = {
    "group": "a process group of its own, killed as a whole",
    "descriptors": "every inherited descriptor closed but the socket to the parent",
    "environment": "no environment",
    "privileges": "no new privileges (no_new_privs)",
    "files": "no file, TCP port, foreign signal or abstract socket (Landlock)",
    "user": "an unprivileged user",
    "capabilities": "no capability",
    "tracing": "not traceable by others of its user",
    "parent": "dies with its parent",
    "core": "no core dump",
    "writes": "no byte into any file (file size limit 0)",
    "memory": "bounded address space",
    "processor": "bounded processor time",
    "processes": "no new process or thread",
    "calls": "an allow-list of system calls, killed for any other (seccomp)",
}


def package_folders() -> list[str]:
    """The folders of the interpreter's library and of what is installed or on the import path."""
    named = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    found = (os.path.realpath(path) for path in (*named, *sys.path) if path)
    return [path for path in dict.fromkeys(found) if path != os.sep]


def _attempt(name: str, step: Step) -> Layer:
    """Take one step; it answers by what the layer holds."""
    try:
        return Layer(name, True, step())
    except (LayerMissing, OSError, ValueError, AttributeError) as error:
        return Layer(name, False, str(error)[:80] or type(error).__name__)


def _own_group() -> str:
    os.setpgid(0, 0)
    return ""


def _close_all_but(kept: int, most: int) -> str:
    """Close all that was inherited but the first, and allow few new ones or none."""
    os.closerange(kept, MOST_DESCRIPTORS)
    return _limit(resource.RLIMIT_NOFILE, most)


def _clear_environment() -> str:
    os.environ.clear()
    return ""


def _become_nobody() -> str:
    """Leave root; another user keeps its own id."""
    if 0 in os.getresuid():
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    return f"uid {os.geteuid()}"


def _drop_capabilities() -> str:
    """Clear every capability set."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    checked(libc().capset(header, (ctypes.c_uint32 * 6)()))
    return ""


def _prctl(option: int, value: int) -> str:
    checked(libc().prctl(option, ctypes.c_ulong(value), 0, 0, 0))
    return ""


def _die_with(parent_pid: int) -> str:
    """Ask for SIGKILL at the parent's end; leave at once when it ended before the request."""
    note = _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)
    return note


def _limit(kind: int, ceiling: int) -> str:
    """Lower soft and hard limit; a hard limit that is lower already stays."""
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        ceiling = min(ceiling, hard)
    resource.setrlimit(kind, (ceiling, ceiling))
    return ""


def _forbid_processes() -> str:
    """No fork, no thread: the limit exempts root, so it is tried."""
    _limit(resource.RLIMIT_NPROC, 0)
    try:
        pid = os.fork()
    except OSError:
        return ""
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    raise LayerMissing("the system still forks")
