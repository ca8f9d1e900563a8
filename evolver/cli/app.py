"""The commands of `evolver`, and what becomes of errors: a sentence, a next command, a code."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer
from typer.core import TyperGroup

from evolver.cli import failures
from evolver.cli.calibrate_command import calibrate
from evolver.cli.check_command import check
from evolver.cli.client_keys import keys_app
from evolver.cli.daemon_command import daemon_app
from evolver.cli.decision_commands import decision_app
from evolver.cli.demo_command import demo
from evolver.cli.doctor_command import doctor
from evolver.cli.evolve_command import evolve
from evolver.cli.experiment_commands import experiment_app
from evolver.cli.fleet_command import fleet
from evolver.cli.host_commands import host_app
from evolver.cli.leaderboard_command import leaderboard
from evolver.cli.live_commands import activate, renew, rollback, write_again
from evolver.cli.picker_command import picker
from evolver.cli.policy_commands import policy_app
from evolver.cli.replay_command import replay
from evolver.cli.review_command import review_app
from evolver.cli.rule_commands import rule_app
from evolver.cli.run_commands import run_app
from evolver.cli.run_replay import replay_run
from evolver.cli.scenario_commands import list_scenarios, run_scenario, show_scenario
from evolver.cli.screen import Screen
from evolver.cli.serve_command import serve
from evolver.cli.status_command import status
from evolver.cli.store_commands import store_app
from evolver.cli.telemetry_commands import telemetry_app
from evolver.cli.trace_commands import trace_app

ORDER = (
    "demo", "trace", "telemetry", "calibrate", "replay", "check", "evolve", "run", "experiment",
    "leaderboard", "policy", "rule", "review", "keys", "fleet", "serve", "picker", "host",
    "decision", "daemon", "store", "status", "doctor",
)  # fmt: skip


class _InOrder(TyperGroup):
    def list_commands(self, ctx: object) -> list[str]:
        """Names of the commands as a person meets them."""
        del ctx
        return list(ORDER)


app = typer.Typer(
    name="evolver",
    cls=_InOrder,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"evolver {version('evolver')}\n")
        raise typer.Exit


@app.callback()
def evolver(
    context: typer.Context,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No notes, no progress.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Scheduling policies for LLM serving that evolve: observe, evolve, prove, approve, swap.

    \b
    evolver demo                                the whole job, here and offline
    evolver trace info FILE                     what a trace or capacity file holds
    evolver replay FILE -p round_robin -p x.py  compare policies on it
    evolver evolve FILE --seed 1                look for a better one, and prove it
    evolver run show                            what the last run tried, found and cost
    evolver review                              the evidence, to decide on in a browser
    evolver policy approve ID --note "why"      let it go live
    evolver serve --engine URL                  put it in front of engines
    """
    del version
    context.obj.quiet = quiet


app.command()(demo)
app.add_typer(trace_app)
app.add_typer(telemetry_app)
app.command()(calibrate)
app.command()(replay)
app.command()(check)
app.command()(evolve)
run_app.command(name="replay")(replay_run)
app.add_typer(run_app)
experiment_app.command(name="list")(list_scenarios)
experiment_app.command(name="show")(show_scenario)
experiment_app.command(name="run")(run_scenario)
app.add_typer(experiment_app)
app.command()(leaderboard)
for decision in (activate, rollback, renew):
    policy_app.command()(decision)
policy_app.command(name="publish")(write_again)
app.add_typer(policy_app)
app.add_typer(rule_app)
app.add_typer(review_app)
app.add_typer(keys_app)
app.add_typer(host_app)
app.add_typer(decision_app)
app.add_typer(daemon_app)
app.add_typer(store_app)
app.command()(fleet)
app.command()(serve)
app.command()(picker)
app.command()(status)
app.command()(doctor)


def run(arguments: list[str]) -> int:
    """Run one command line; the exit code."""
    if sys.stdout is None:
        # Closed by whoever started this; what goes to files still works.
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a plot must not fail on an ASCII terminal
    screen = Screen()
    _warn_of_shadows(screen)
    try:
        code = app(args=arguments, prog_name="evolver", standalone_mode=False, obj=screen)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return 0
    except (KeyboardInterrupt, typer.Abort):
        return _end(screen, failures.INTERRUPTED, "Stopped.", "")
    except Exception as error:
        code = _explain(screen, error)
        _drop_output()
    if code == failures.INTERRUPTED:  # typer has caught Ctrl-C itself
        return _end(screen, failures.INTERRUPTED, "Stopped.", "")
    return code if isinstance(code, int) else 0


def _drop_output() -> None:
    """What is still buffered for an output that takes nothing would fail once more at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _warn_of_shadows(screen: Screen) -> None:
    from evolver.cli.installation import shadowed

    for sentence in shadowed():
        screen.warn(sentence)


def _explain(screen: Screen, error: Exception) -> int:
    usage = _usage(error)
    found = usage or failures.expected(error)
    if found is None and isinstance(error, OSError):
        found = failures.from_system(error)
    if found is not None:
        return _end(screen, *found)
    path = failures.keep_traceback(error)
    where = f"the traceback is in {path}" if path else "its traceback could not be written"
    sentence = f"A defect stopped this command ({type(error).__name__}); {where}."
    return _end(screen, failures.DEFECT, sentence, "evolver doctor")


def _usage(error: Exception) -> tuple[int, str, str] | None:
    """What typer has against the command line."""
    if not hasattr(error, "format_message"):
        return None
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "evolver"
    sentence = str(error.format_message()).strip().rstrip(".").replace("\n", " ")
    end = "" if sentence.endswith("?") else "."
    return failures.MISUSED, sentence + end, f"{path} --help"


def _end(screen: Screen, code: int, sentence: str, command: str) -> int:
    from sandbox.report import plain

    head, *rest = plain(sentence).splitlines() or [""]
    screen.err.print(f"error: {head}", style="red", soft_wrap=True)
    for line in rest:
        screen.err.print(f"       {line}", soft_wrap=True)
    if code not in (failures.INTERRUPTED, 0):
        command = command or f"{screen.command} --help"
        screen.err.print(f"next:  {plain(command)}", style="cyan", soft_wrap=True)
    return code


def entry() -> NoReturn:
    """`python -m evolver.cli.app`."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    entry()
