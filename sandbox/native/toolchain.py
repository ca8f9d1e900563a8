"""What machine code was made by and for, as text and as a digest; it is good nowhere else."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_SANDBOX = Path(__file__).resolve().parent.parent
# what is compiled into every policy besides its own source, and how
_POLICY_SOURCES = (
    "arithmetic.py", "contract.py", "frame.py", "language/kinds.py",
    "language/lattice.py", "lists.py", "native/policy_builder.py", "records.py", "toolkit.py",
)  # fmt: skip


@functools.cache
def toolchain() -> str:
    """numba, llvmlite, Python and the processor that is compiled for; imports no compiler."""
    parts = (_version("numba"), _version("llvmlite"), sys.version, platform.machine(), _cpu())
    return "|".join(parts)


@functools.cache
def policy_toolchain() -> str:
    """Digest of the toolchain and of all that is linked into a policy's machine code."""
    digest = hashlib.sha256(toolchain().encode())
    for name in _POLICY_SOURCES:
        content = hashlib.sha256((_SANDBOX / name).read_bytes()).hexdigest()
        digest.update(f"\0{name} {content}".encode())
    return digest.hexdigest()


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "absent"


def _cpu() -> str:
    """The processor, or the lesser one that numba is told to compile for."""
    from llvmlite import binding

    pinned = [os.environ.get(name, "") for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")]
    host = (binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten())
    return " ".join(given or own for given, own in zip(pinned, host, strict=True))
