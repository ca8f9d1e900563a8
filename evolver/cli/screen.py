"""Where output goes: results to stdout, everything else to stderr, calm when nobody watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, RenderableType

from sandbox.report import Report, Tone, plain

STYLES = {Tone.PLAIN: "", Tone.DIM: "dim", Tone.STRONG: "bold", Tone.GOOD: "green", Tone.BAD: "red"}


class _Pipe(Console):
    """A console whose reader may stop reading: that ends the program, and is no failure."""

    def on_broken_pipe(self) -> None:
        """Leave it to the top of the program."""
        raise BrokenPipeError


class Screen:
    """The terminal as commands see it; one per run of the program.

    `command` is what was typed as far as it was understood, such as `evolver trace info`.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.command = "evolver"
        self.out = _Pipe(highlight=False, markup=False, emoji=False)
        self.err = Console(stderr=True, highlight=False, markup=False, emoji=False)

    def note(self, *sentences: str) -> None:
        """Say something about the work; `--quiet` keeps it back."""
        if not self.quiet:
            for sentence in sentences:
                self.err.print(plain(sentence), style="dim", soft_wrap=True)

    def warn(self, sentence: str) -> None:
        """Say something that must not be overlooked."""
        self.err.print(f"warning: {plain(sentence)}", style="yellow", soft_wrap=True)

    def next(self, *commands: str) -> None:
        """Say what to type next."""
        if self.quiet:
            return
        for place, command in enumerate(commands):
            lead = "next:" if place == 0 else "     "
            self.err.print(f"{lead} {plain(command)}", style="cyan", soft_wrap=True)

    def show(self, report: Report) -> None:
        """Print a report to stdout."""
        from evolver.cli.blocks import renderables

        for renderable in renderables(report):
            self.out.print(renderable, crop=False)

    def text(self, text: str) -> None:
        """Print text to stdout as it is: JSON, HTML."""
        import sys

        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()  # a service goes on after its first sentence, which somebody waits for

    def save(self, path: Path, text: str) -> None:
        """Write a file and say so."""
        path.write_text(text, encoding="utf-8")
        self.note(f"written to {path}")

    @contextmanager
    def steps(self, title: str, total: int | None) -> Iterator[Bar]:
        """A progress bar on stderr that is gone when the work is done."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed

        columns = [TextColumn("{task.description}"), BarColumn(bar_width=24)]
        counts = [MofNCompleteColumn()] if total is not None else []
        hidden = self.quiet or not self.err.is_terminal
        with Progress(
            *columns, *counts, Elapsed(), console=self.err, transient=True, disable=hidden
        ) as progress:
            yield Bar(progress, progress.add_task(plain(title), total=total))

    @contextmanager
    def live(self, first: RenderableType) -> Iterator[Live]:
        """A part of stderr that is redrawn while the work goes on, gone at the end."""
        from rich.live import Live as RichLive

        if self.quiet or not self.err.is_terminal:
            yield Live(None)
            return
        with RichLive(first, console=self.err, transient=True, refresh_per_second=8) as live:
            yield Live(live)


class Bar:
    """One progress bar."""

    def __init__(self, progress: object, task: object) -> None:
        self._progress, self._task = progress, task

    def step(self, title: str = "", by: int = 1) -> None:
        """So many more pieces are done; `title` is what it is about now."""
        update = {"description": plain(title)} if title else {}
        self._progress.update(self._task, advance=by, **update)  # type: ignore[attr-defined]  # rich


class Live:
    """A redrawn part of the screen; nothing happens when there is none."""

    def __init__(self, live: object | None) -> None:
        self._live = live

    @property
    def shown(self) -> bool:
        """Whether anybody sees it."""
        return self._live is not None

    def update(self, renderable: RenderableType) -> None:
        """Draw this instead."""
        if self._live is not None:
            self._live.update(renderable)  # type: ignore[attr-defined]  # rich
