"""How helper processes start: our interpreter, the package of the process that starts them.

The working directory is never on their import path. The package is found before any other
installed one, so that two processes that work together are of one version.
"""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
# after the standard library, before what is installed
_START = """
import runpy, sys
root = sys.argv.pop(1)
del sys.argv[0]
place = (k for k, path in enumerate(sys.path) if path.endswith("-packages"))
sys.path.insert(next(place, len(sys.path)), root)
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of ours as a program."""
    return [sys.executable, "-P", "-c", _START, str(_ROOT), module, *arguments]
