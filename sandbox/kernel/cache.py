"""Where machine code is kept: keyed by all it was made from, so that no caller goes stale.

numba's own cache looks at one file at a time and would keep a caller whose callee changed. The
toolkit's code lies under a digest of its sources, toolchain and processor; a kernel entry's under
a digest of what it reaches, so that a change compiles anew only what it touches.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from sandbox.home import home

KERNEL = "7b9b3e450cfbfa9c"  # its entries have digests of their own
KEPT = 4  # older generations of machine code beside the present one
_SANDBOX = Path(__file__).resolve().parent.parent
# policy code links the toolkit, whose machine code is kept in the same place
_SOURCES = (
    "abi.py", "arithmetic.py", "contract.py", "frame.py", "records.py", "toolkit.py",
    "native/policy_builder.py",
)  # fmt: skip


def toolchain() -> str:
    """What machine code depends on besides its sources: numba, llvmlite, Python, processor."""
    import llvmlite
    import numba

    parts = (numba.__version__, llvmlite.__version__, sys.version, platform.machine(), _cpu())
    return "|".join(parts)


def toolkit_digest() -> str:
    """Names the toolkit's machine code: sources and toolchain."""
    digest = hashlib.sha256(toolchain().encode())
    for path in (_SANDBOX / source for source in _SOURCES):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _cpu() -> str:
    from llvmlite import binding

    return f"{binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"


def cache_directory(key: str = KERNEL) -> Path:
    """Beside the package when that can be written, else under EVOLVER_HOME; made if missing."""
    beside = _SANDBOX / "kernel" / "__numba__"
    for root in (beside, home() / "cache" / "numba"):
        try:
            (root / key).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(root / key, os.W_OK):
            _forget_old(root)
            return root / key
    raise OSError(
        f"Neither {beside} nor {home() / 'cache'} can be written; set EVOLVER_HOME to a directory "
        "that can."
    )


def _forget_old(root: Path) -> None:
    """Delete the machine code of sources long gone."""
    import shutil

    def written(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:  # another process was quicker to delete it
            return 0.0

    generations = sorted(root.iterdir(), key=written, reverse=True)
    for path in generations[1 + KEPT :]:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def toolkit_cache() -> Iterator[None]:
    """While functions of the toolkit are defined: their machine code lies under their digest."""
    from numba import config

    before = config.CACHE_DIR  # type: ignore[attr-defined]  # numba makes it
    config.CACHE_DIR = str(cache_directory(toolkit_digest()))  # type: ignore[attr-defined]
    try:
        yield
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]


def use_cache(first_locator: str = "") -> None:
    """Point numba at the directory; before the first kernel function is defined.

    `first_locator` names a class that may keep a function's code in a way of its own.
    """
    from numba import config

    config.CACHE_DIR = str(cache_directory())  # type: ignore[attr-defined]  # numba makes it
    if first_locator:
        config.CACHE_LOCATOR_CLASSES = f"{first_locator},UserProvidedCacheLocator"  # type: ignore[attr-defined]  # likewise
