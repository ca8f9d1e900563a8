"""`evolver run`: what earlier runs found, what they cost, and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import Misused
from evolver.cli.options import OutFile, Output, OutputOption, Quiet, screen_of
from evolver.cli.policies import open_store
from evolver.cli.results import json_text, show_result

if TYPE_CHECKING:
    from evolver.run_history import RunHistory
    from policy_store.records import Run, RunEvent
    from policy_store.store import PolicyStore

SUMMARY_KINDS = ("run_started", "generation_done", "run_finished")
READ_AT_ONCE = 2000  # rows
PROMPT_FIELDS = ("messages", "reply")

run_app = typer.Typer(
    name="run", no_args_is_help=True, help="Earlier evolution runs: list, show, compare, export."
)
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The first digits of its id, or `last`.")]


@run_app.command(name="list")
def list_runs(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """List runs, newest first: what each found, in the search and in the proof, and its cost.

    \b
    evolver run list
    evolver run list -o json
    """
    from evolver.cli.run_documents import listed
    from evolver.cli.run_report import list_report
    from evolver.cli.run_words import resume

    screen = screen_of(context, quiet)
    with open_store() as store:
        runs = store.runs.list_runs(limit)
        histories = [history_of(store, run, SUMMARY_KINDS) for run in runs]
    show_result(
        screen, output, out,
        lambda: {"runs": [listed(history) for history in histories]},
        lambda: list_report(histories),
    )  # fmt: skip
    if not histories:
        screen.next("evolver evolve TRACE --seed 1")
        return
    unfinished = [resume(one.run.id) for one in histories if one.verdict is None]
    screen.next(f"evolver run show {histories[0].run.id[:12]}", *unfinished[:3])


@run_app.command()
def show(
    context: typer.Context,
    run: RunId = "last",
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Show one run: verdict, curves, lineage, who earned what, why tries came to nothing.

    \b
    evolver run show                             the newest
    evolver run show 3f2a9c
    evolver run show 3f2a9c -o html --out run.html
    """
    from evolver.cli.run_documents import run_document
    from evolver.cli.run_page import run_page
    from evolver.cli.run_report import run_report

    screen = screen_of(context, quiet)
    history = _read(run)
    page = run_page if output is Output.HTML else run_report
    show_result(screen, output, out, lambda: run_document(history), lambda: page(history))
    screen.next(*_after(history))


def _after(history: RunHistory) -> list[str]:
    """What to type next about a run."""
    from evolver.cli.run_words import resume

    short, policy = history.run.id[:12], (history.run.summary or {}).get("policy")
    steps = [resume(history.run.id)] if history.verdict is None else []
    steps += [f"evolver policy show {policy[:12]}"] if isinstance(policy, str) else []
    return [*steps, f"evolver run export {short} -o run-{short}.html"]


@run_app.command()
def compare(
    context: typer.Context,
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN ...", help="Two or more.")],
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Compare runs: what they were given, how they went, what the same gain took.

    \b
    evolver run compare 3f2a9c 77b01d
    evolver run compare 3f2a9c last -o json
    """
    from evolver.cli.run_compare import LETTERS, compare_report
    from evolver.cli.run_documents import comparison_document

    screen = screen_of(context, quiet)
    if not 2 <= len(runs) <= len(LETTERS):
        raise Misused(f"Give two to {len(LETTERS)} runs to compare.", "evolver run list")
    histories = [_read(run) for run in runs]
    show_result(
        screen, output, out,
        lambda: comparison_document(histories),
        lambda: compare_report(histories),
    )  # fmt: skip


@run_app.command()
def export(
    context: typer.Context,
    run: RunId = "last",
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="Its ending says the form: .html, "
                     ".json or .jsonl; run-ID.html here without it."),
    ] = None,
    with_prompts: Annotated[
        bool, typer.Option("--with-prompts", help="In .jsonl: what models were asked, answered.")
    ] = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Write one run into one file: a page that works offline, its history, or its raw events.

    \b
    evolver run export 3f2a9c -o run.html        nothing is fetched, nothing runs in it
    evolver run export 3f2a9c -o run.json
    evolver run export 3f2a9c -o events.jsonl --with-prompts
    """
    screen = screen_of(context, quiet)
    with open_store() as store:
        found = store.runs.find_run(run)
        path = out or Path(f"run-{found.id[:12]}.html")
        form = path.suffix.lower()
        if form not in (".html", ".json", ".jsonl"):
            raise Misused(f"{path} says no form: end its name in .html, .json or .jsonl.")
        if not path.absolute().parent.is_dir():
            raise Misused(f"There is no folder {path.absolute().parent}; make it, or name another.")
        if form == ".jsonl":
            text = "".join(_lines(store, found, with_prompts))
        else:
            text = _exported(history_of(store, found), form)
    screen.save(path, text)


def _exported(history: RunHistory, form: str) -> str:
    if form == ".json":
        from evolver.cli.run_documents import run_document

        return json_text(run_document(history)) + "\n"
    from evolver.cli.run_page import run_page
    from sandbox.report_html import page_of

    return page_of(run_page(history))


def _lines(store: PolicyStore, run: Run, with_prompts: bool) -> Iterator[str]:
    """The events as they are stored, one a line, after a line about the run."""
    import json

    from evolver.cli.policy_report import moment
    from evolver.recorded_rows import EXCHANGE

    head = {"schema": 1, "run": run.id, "kind": run.kind, "config": dict(run.config),
            "started_at": moment(run.started_at), "verdict": run.verdict,
            "summary": run.summary,
            "pruned_at": moment(run.pruned_at) if run.pruned_at else None}  # fmt: skip
    yield json.dumps(head, sort_keys=True) + "\n"
    for event in _events(store, run):
        payload = dict(event.payload)
        if event.kind == EXCHANGE and not with_prompts:
            payload = {key: value for key, value in payload.items() if key not in PROMPT_FIELDS}
        line = {"row": event.sequence, "kind": event.kind, "at": moment(event.at), **payload}
        yield json.dumps({**line, "kind": event.kind}, sort_keys=True) + "\n"


def _read(word: str) -> RunHistory:
    with open_store() as store:
        return history_of(store, store.runs.find_run(word))


def history_of(store: PolicyStore, run: Run, kinds: tuple[str, ...] = ()) -> RunHistory:
    """One run as its rows tell it; `kinds` are the only ones to read, none: all."""
    from evolver.run_reader import read_history

    return read_history(run, _events(store, run, kinds))


def _events(store: PolicyStore, run: Run, kinds: tuple[str, ...] = ()) -> Iterator[RunEvent]:
    """All rows, in parts: a long run has more than should be held at once."""
    after = 0
    while rows := store.runs.events(run.id, after=after, limit=READ_AT_ONCE, kinds=kinds):
        yield from rows
        after = rows[-1].sequence
