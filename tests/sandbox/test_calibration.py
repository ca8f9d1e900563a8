"""Calibration: known terms are found again, foreign or damaged files are refused."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from sandbox.calibrate import from_histograms, from_timings
from sandbox.calibration import CalibrationRefused, Terms, read_calibration
from sandbox.cluster import ClusterError, ClusterSpec, EngineSpec, load_cluster, with_calibrations
from sandbox.fitting import fit
from sandbox.hardware import build_hardware, differential_error
from sandbox.one_engine import serve
from sandbox.profiles import load_profile
from telemetry.engine_histograms import Counts, EngineHistograms
from telemetry.engine_timings import EngineTimings
from telemetry.trace import Trace, TraceMeta

ENGINE = EngineSpec(max_num_seqs=64)
TRUE = {"step_overhead_ps": 2_500_000_000, "request_overhead_ps": 35_000_000_000}
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def trace(n=240, seed=0, rate=12.0):
    draw = np.random.default_rng(seed)
    return Trace.of(
        TraceMeta(), arrival_s=np.sort(draw.random(n)) * n / rate,
        prompt_tokens=draw.integers(50, 3000, n), output_tokens=draw.integers(2, 300, n),
    )  # fmt: skip


@pytest.fixture(scope="module")
def raw():
    return load_profile("A100", "llama-3.1-8b", 1)


@pytest.fixture(scope="module")
def measured(raw):
    """An engine that is the simulator with terms that the fit does not know."""
    served = serve(raw.calibrated(**TRUE), trace(), ENGINE)
    return EngineTimings(trace(), served.ttft_s, served.e2e_s)


@pytest.fixture(scope="module")
def found(raw, measured):
    return from_timings(raw, measured, ENGINE)


def test_known_terms_are_found_again(raw, measured):
    def residuals(profile):
        served = serve(profile, measured.trace, ENGINE)
        pairs = ((served.ttft_s, measured.ttft_s), (served.e2e_s, measured.e2e_s))
        return np.concatenate([np.log(ours / theirs) for ours, theirs in pairs])

    made = fit(raw, residuals, tuple(TRUE))
    assert made.step_overhead_ps == pytest.approx(TRUE["step_overhead_ps"], rel=0.02)
    assert made.request_overhead_ps == pytest.approx(TRUE["request_overhead_ps"], rel=0.02)


def test_terms_that_look_alike_still_give_the_right_step(raw, found):
    """Host time per step and slower kernels are told apart only by how they grow."""
    true, made = raw.calibrated(**TRUE), found.terms.applied(raw)
    for batch in (8, 32, 64):
        args = ([], batch, 1500 * batch)
        assert made.step_ps(*args) == pytest.approx(true.step_ps(*args), rel=0.03)


def test_unseen_requests_are_predicted(found):
    assert found.before.e2e_mean < -0.03
    assert abs(found.after.e2e_mean) < 0.01
    assert abs(found.after.ttft_p99) < 0.05


def test_what_is_reported_was_not_fitted(raw, measured, found):
    """Other times of the reported half move the report and leave the terms alone."""
    ttft, e2e = measured.ttft_s.copy(), measured.e2e_s.copy()
    ttft[1::2] *= 3.0
    e2e[1::2] *= 3.0
    other = from_timings(raw, EngineTimings(measured.trace, ttft, e2e), ENGINE)
    assert other.terms == found.terms
    assert other.after.e2e_mean == pytest.approx((1 + found.after.e2e_mean) / 3 - 1, abs=1e-3)


def test_a_few_wild_requests_move_little(raw, measured, found):
    e2e = measured.e2e_s.copy()
    e2e[::40] *= 20.0
    other = from_timings(raw, EngineTimings(measured.trace, measured.ttft_s, e2e), ENGINE)
    assert other.terms.step_overhead_ps == pytest.approx(found.terms.step_overhead_ps, rel=0.3)


def test_requests_that_cannot_fit_are_refused(raw, measured):
    with pytest.raises(CalibrationRefused, match="--kv-tokens"):
        from_timings(raw, measured, ENGINE, kv_tokens=1024)


def counts(values, bounds):
    edges = np.append(np.asarray(bounds, float), np.inf)
    cumulative = np.array([(values <= edge).sum() for edge in edges], float)
    return Counts(edges, cumulative, float(np.nansum(values)))


def test_histograms_are_enough_for_the_means(raw, measured):
    grid = np.geomspace(1e-3, 100, 80)
    tokens = np.arange(0, 3200, 50)
    histograms = EngineHistograms(
        ttft_s=counts(measured.ttft_s, grid), tpot_s=counts(measured.tpot_s, grid),
        e2e_s=counts(measured.e2e_s, grid),
        prompt_tokens=counts(measured.trace.prompt_tokens, tokens),
        output_tokens=counts(measured.trace.output_tokens, tokens),
    )  # fmt: skip
    made = from_histograms(raw, histograms, measured.trace.span_s, ENGINE)
    assert abs(made.after.tpot_mean) < 0.03 < abs(made.before.tpot_mean)
    assert abs(made.after.e2e_p50) < 0.12


def cluster(**more):
    pool = [{"gpu": "A100", "count": 2}]
    return ClusterSpec.model_validate({"model": "llama-3.1-8b", "pool": pool, **more})


def test_a_file_changes_the_cluster_it_belongs_to(found, tmp_path):
    (tmp_path / "mine.json").write_text(found.to_json())
    made = with_calibrations(cluster(), tmp_path, ("mine.json",))
    shapes = build_hardware(made).shapes
    assert shapes["step_overhead"][0] == found.terms.step_overhead_ps
    assert shapes["step_overhead"][1] == build_hardware(cluster()).shapes["step_overhead"][1]
    assert differential_error(made) >= found.differential_error


def test_a_cluster_file_names_its_calibrations(found, tmp_path):
    (tmp_path / "mine.json").write_text(found.to_json())
    (tmp_path / "cluster.toml").write_text(
        'model = "llama-3.1-8b"\ncalibration = ["mine.json"]\n[[pool]]\ngpu = "A100"\ncount = 1\n'
    )
    assert load_cluster(str(tmp_path / "cluster.toml")).calibrated == (found,)


def test_another_gpu_is_refused(found, tmp_path):
    (tmp_path / "mine.json").write_text(found.to_json())
    other = cluster(pool=[{"gpu": "H100", "count": 1}])
    with pytest.raises(ClusterError, match=r"A100 x llama-3\.1-8b x TP1"):
        with_calibrations(other, tmp_path, ("mine.json",))


def test_changed_tables_are_refused(found, raw):
    stale = replace(raw.raw or raw, decode_ps=(raw.raw or raw).decode_ps + 1)
    with pytest.raises(CalibrationRefused, match="changed"):
        found.applied(stale)


@pytest.mark.parametrize(
    ("key", "value"),
    [("tp", 0), ("gpu", "A100\n"), ("extra", 1), ("schema_version", 2), ("tables", "x" * 16)],
)
def test_a_damaged_file_is_refused(found, tmp_path, key, value):
    document = json.loads(found.to_json()) | {key: value}
    (tmp_path / "bad.json").write_text(json.dumps(document))
    with pytest.raises(CalibrationRefused, match=r"bad\.json"):
        read_calibration(tmp_path / "bad.json")


@pytest.mark.parametrize("value", ["NaN", "-1", "1e300", '"2"'])
def test_terms_are_bounded(found, tmp_path, value):
    text = found.to_json().replace('"decode_scale":', f'"decode_scale": {value}, "x":', 1)
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(CalibrationRefused):
        read_calibration(tmp_path / "bad.json")


@dataclass(frozen=True)
class Loop:
    """A measured row as the benchmark wants it."""

    users: int
    ttft_s: float
    tpot_s: float
    system: tuple = ("A100", "llama-3.1-8b", 1)
    engine: str = "vllm"

    @property
    def load(self):
        return f"500x100 c{self.users}"

    @property
    def e2e_s(self):
        return self.ttft_s + 99 * self.tpot_s

    def trace(self):
        n = 4 * self.users
        after = np.arange(n) - self.users
        return Trace.of(
            TraceMeta(), arrival_s=np.zeros(n), prompt_tokens=np.full(n, 500),
            output_tokens=np.full(n, 100), after=np.where(after >= 0, after, -1), span_s=1.0,
        )  # fmt: skip

    def engine_spec(self):
        return ENGINE


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("fidelity", BENCHMARKS / "fidelity.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_a_held_out_group_is_never_in_its_fit(benchmark, raw):
    """Whatever was measured for a group, what is predicted for it stays the same."""
    rows = [Loop(users, 0.06 + 0.002 * users, 0.012 + 0.0002 * users) for users in (1, 2, 4, 8)]
    doubled = [replace(r, ttft_s=2 * r.ttft_s, tpot_s=2 * r.tpot_s) for r in rows[:1]] + rows[1:]

    def predicted(rows, variant):
        scored = benchmark.score_system((raw, rows)).scored[0]
        return (1 + scored.errors[variant]["tpot"]) * scored.measured["tpot"]

    assert predicted(doubled, "held out") == pytest.approx(predicted(rows, "held out"), rel=1e-9)
    assert predicted(doubled, "calibrated") == pytest.approx(predicted(rows, "calibrated"))


def test_every_row_of_a_group_is_held_out_with_it(benchmark, raw):
    rows = [Loop(users, 0.08, 0.014) for users in (2, 2, 4, 8)]
    wild = [rows[0], replace(rows[1], tpot_s=0.1), *rows[2:]]

    def error(rows):
        return benchmark.score_system((raw, rows)).scored[0].errors["held out"]["tpot"]

    assert error(wild) == pytest.approx(error(rows), rel=1e-9)


def test_the_benchmark_would_notice(benchmark, raw):
    """The same change inside the fit does move what is predicted."""
    rows = [Loop(users, 0.08, 0.014) for users in (1, 2, 4, 8)]
    wild = [rows[0], *(replace(r, tpot_s=0.03) for r in rows[1:])]
    first, second = (benchmark.score_system((raw, r)).scored[0].errors["held out"]["tpot"]
                     for r in (rows, wild))  # fmt: skip
    assert second > first + 0.05


def test_shipped_terms_belong_to_shipped_profiles():
    fitted = load_profile("H200", "llama-3.1-70b-fp8", 4)
    assert Terms.of(fitted).applied(fitted.raw).tables_digest == fitted.tables_digest
    assert load_profile("H200", "llama-3.1-70b-fp8", 4, terms=False).compute_scale == 1.0
