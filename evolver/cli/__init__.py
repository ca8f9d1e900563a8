"""The command line: every part of the project behind one program, `evolver`.

Reading guide:

1. `app`: the commands and what happens to errors; `main` below is the program.
2. One file per command: `trace_commands`, `replay_command`, `check_command`, `evolve_command`,
   `policy_commands`, `status_command`, `doctor_command`, `demo_command`.
3. `options`, `inputs` and `policies`: what is typed, read and meant.
4. `screen`, `blocks` and `failures`: what is shown, and how it says that something went wrong.

Results go to stdout, everything else to stderr. Anything heavy is imported inside the command that
needs it, so that `evolver --help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit code: 0 done, 1 refused, 2 typed wrong, 70 a defect."""
    from evolver.cli.app import run

    return run(list(sys.argv[1:] if arguments is None else arguments))
