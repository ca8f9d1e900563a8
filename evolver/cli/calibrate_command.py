"""`evolver calibrate`: fit a step-time profile to what an engine of one's own measured."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import Misused
from evolver.cli.options import Output, OutputOption, Quiet, screen_of
from evolver.cli.screen import Screen

if TYPE_CHECKING:
    from sandbox.calibration import Calibration
    from sandbox.cluster import EngineSpec
    from sandbox.report import Report

MOST_META_BYTES = 2**20

Measured = Annotated[
    Path, typer.Argument(metavar="FILE", help="Per-request timings, or /metrics text of vLLM.")
]
Gpu = Annotated[str, typer.Option(metavar="NAME", help="Which GPUs the engine ran on.")]
ModelName = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="Model; else from meta.json.")
]
Tp = Annotated[int | None, typer.Option(metavar="N", help="Tensor-parallel degree; else 1.")]
Seqs = Annotated[int | None, typer.Option("--max-num-seqs", metavar="N", help="As served.")]
Batched = Annotated[
    int | None, typer.Option("--max-num-batched-tokens", metavar="N", help="As served.")
]
Kv = Annotated[
    int | None, typer.Option("--kv-tokens", metavar="N", help="The size vLLM logs at its start.")
]
Window = Annotated[
    float | None, typer.Option("--window-s", metavar="S", help="Seconds that the histograms cover.")
]
Since = Annotated[
    Path | None, typer.Option(metavar="FILE", help="An earlier scrape, at the window's start.")
]
Written = Annotated[Path, typer.Option("--out", metavar="FILE", help="The calibration.")]


@dataclass(frozen=True, slots=True)
class Served:
    """What was served, from options and from `meta.json` beside the file.

    Attributes:
        engine: name and version for the record.
    """

    model: str
    tp: int
    spec: EngineSpec
    engine: str


def calibrate(
    context: typer.Context,
    file: Measured,
    gpu: Gpu,
    model: ModelName = None,
    tp: Tp = None,
    max_num_seqs: Seqs = None,
    max_num_batched_tokens: Batched = None,
    kv_tokens: Kv = None,
    window_s: Window = None,
    since: Since = None,
    written: Written = Path("calibration.json"),
    output: OutputOption = Output.TABLE,
    quiet: Quiet = False,
) -> None:
    """Fit a profile to an engine of your own.

    \b
    evolver calibrate requests.jsonl --gpu H100
    evolver calibrate after.txt --since before.txt --window-s 600 --gpu H100 --model llama-3.1-8b
    evolver replay requests.csv.gz -p round_robin --calibration calibration.json

    FILE has one JSON object a request (input_toks, output_toks, queued_ts, first_token_ts,
    last_token_ts in seconds) or is Prometheus text. A meta.json beside it gives what options leave
    out. Half of the requests are fitted to, the errors are those of the other half.
    """
    screen = screen_of(context, quiet)
    if output is Output.HTML:
        raise Misused("A calibration has no page; give -o table or -o json.")
    if not written.absolute().parent.is_dir() or written.is_dir():
        raise Misused(f"{written} cannot be written; name a file in a folder that exists.")
    served = _served(file, model, tp, max_num_seqs, max_num_batched_tokens)
    found = _fitted(screen, file, gpu, served, kv_tokens, window_s, since)
    screen.save(written, found.to_json())
    if output is Output.JSON:
        screen.text(found.to_json())
    else:
        screen.show(_report(found))
    screen.next(f"evolver replay TRACE -p round_robin --calibration {written}")


def _fitted(
    screen: Screen,
    file: Path,
    gpu: str,
    served: Served,
    kv_tokens: int | None,
    window_s: float | None,
    since: Path | None,
) -> Calibration:
    from evolver.cli.kernel import warm_kernel
    from sandbox.calibrate import from_histograms, from_timings
    from sandbox.profiles import load_profile
    from telemetry.engine_histograms import read_histograms
    from telemetry.engine_timings import read_timings

    if kv_tokens is not None and kv_tokens < 16:
        raise Misused(f"An engine cannot hold {kv_tokens} KV tokens; give what it logged.")
    profile = load_profile(gpu, served.model, served.tp)
    if window_s is None and since is None:
        timings = read_timings(file)
        warm_kernel(screen)
        return from_timings(profile, timings, served.spec, kv_tokens, served.engine)
    if window_s is None or not 0 < window_s < 1e7:
        raise Misused("Histograms have no clock; say how many seconds they cover with --window-s.")
    histograms = read_histograms(file)
    if since is not None:
        histograms = histograms.since(read_histograms(since))
    warm_kernel(screen)
    return from_histograms(profile, histograms, window_s, served.spec, kv_tokens, served.engine)


def _served(
    file: Path, model: str | None, tp: int | None, seqs: int | None, batched: int | None
) -> Served:
    """Options first, then `meta.json`, then vLLM's defaults."""
    from pydantic import ValidationError

    from sandbox.cluster import EngineSpec

    meta = _meta(file.with_name("meta.json"))
    settings = meta.get("engine_kwargs")
    settings = settings if isinstance(settings, dict) else {}
    name = model or meta.get("model")
    if not isinstance(name, str):
        raise Misused("Nobody says which model was served; give --model.")
    degree = tp or settings.get("tensor_parallel_size") or 1
    values = {
        "max_num_seqs": seqs or settings.get("max_num_seqs"),
        "max_num_batched_tokens": batched or settings.get("max_num_batched_tokens"),
    }
    try:
        spec = EngineSpec.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise Misused(f"{first['loc'][0]}: {first['msg']}; give it as an option.") from None
    if not isinstance(degree, int) or isinstance(degree, bool):
        raise Misused("The tensor-parallel degree is no whole number; give --tp.")
    return Served(name, degree, spec, _engine(meta.get("vllm_version")))


def _engine(version: object) -> str:
    known = isinstance(version, str) and re.fullmatch(r"[0-9][A-Za-z0-9.]{0,31}", version)
    return f"vllm {version}" if known else "vllm"


def _meta(path: Path) -> dict[str, object]:
    """`meta.json` beside the file, if there is one that can be read."""
    if not path.is_file() or path.stat().st_size > MOST_META_BYTES:
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise Misused(f"{path} is not JSON; mend it, or give options and remove it.") from None
    return found if isinstance(found, dict) else {}


def _report(found: Calibration) -> Report:
    from sandbox.report import Report

    terms = found.terms
    how = "on the other half" if found.source == "timings" else "means were fitted to, the rest not"
    rows = [
        (
            f"{name.upper()} {part}",
            f"{getattr(found.before, f'{name}_{part}'):+.1%}",
            f"{getattr(found.after, f'{name}_{part}'):+.1%}",
        )
        for name in ("ttft", "tpot", "e2e")
        for part in ("mean", "p50", "p99")
    ]
    report = Report(f"Calibration of {found.key}")
    report = report.say(f"{found.requests:,} requests of {found.engine}; errors {how}.")
    report = report.grid(("simulated - measured", ">untuned", ">calibrated"), rows)
    return report.say(
        f"step {terms.step_overhead_ps / 1e9:.2f} ms, per sequence "
        f"{terms.sequence_overhead_ps / 1e6:.1f} us, request {terms.request_overhead_ps / 1e9:.1f} "
        f"ms; factors: all-reduce {terms.all_reduce_scale:.2f}, prompts {terms.compute_scale:.2f}, "
        f"decode {terms.decode_scale:.2f}, context {terms.context_scale:.2f}. "
        f"A ratio of two loads is off by {found.differential_error:.1%}."
    )
