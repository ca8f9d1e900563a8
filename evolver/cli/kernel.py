"""Makes sure that the simulator is compiled, with a progress bar the first time."""

from __future__ import annotations

import os
import time

from evolver.cli.screen import Screen


def warm_kernel(screen: Screen) -> None:
    """Compile what the disk does not have; says so once when it takes a while."""
    from sandbox.kernel.jit import ENTRIES
    from sandbox.kernel.program import warm

    started = time.monotonic()
    parts = 1 if is_warm() else min(2, os.cpu_count() or 1)
    if parts > 1:
        screen.note("compiling the simulator, once on this machine")
    with screen.steps("compiling the simulator, once on this machine", len(ENTRIES)) as bar:
        for _ in warm(parts):
            bar.step()
    if parts > 1:
        screen.note(f"compiled in {time.monotonic() - started:.0f} s")


def is_warm() -> bool:
    """Whether the disk holds the machine code of every entry."""
    from sandbox.kernel import program  # noqa: F401 - it knows which modules have entries
    from sandbox.kernel.jit import entries_to_compile

    return not entries_to_compile()


def main() -> None:
    """Compile now, so that nothing waits for it later: the set-up's last step."""
    from sandbox.replay import default_policy

    screen = Screen()
    warm_kernel(screen)
    default_policy()  # and with it what every policy links


if __name__ == "__main__":
    main()
