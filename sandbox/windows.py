"""The windows of a trace, split by time into search, choice and proof, and how they are tried.

Search sees the training windows only, choice the validation windows, and the sealed ones are
opened once, for one candidate. The probe and the variants are made of the training stretch; what
is validated or proved on is what happened, under a second seed where chance has a part in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sandbox.capacity import Pairing
from sandbox.cluster import ClusterSpec
from sandbox.foretelling import learned_by
from sandbox.hardware import build_hardware
from sandbox.hidden import seen_through
from sandbox.metrics import measure
from sandbox.probe import probe_of
from sandbox.replay import default_policy
from sandbox.scenario import Scenario
from sandbox.simulation import Mode, Setup, SimulationError, simulate
from sandbox.stats import MIN_WINDOWS
from sandbox.variants import doubts_of, second_seeds, variants_of
from telemetry.trace import Trace

TIMES_E2E = 10.0  # a window is at least this many mean end-to-end times long
WARMUP_TIMES_E2E = 3.0
MOST_WINDOWS = 24
FEWEST_WINDOWS = 6
TRAINING_SHARE, VALIDATION_SHARE = 0.4, 0.2
PROVABLE_WINDOWS = MIN_WINDOWS + 4  # three to search on and one to choose on, at the least


@dataclass(frozen=True, slots=True)
class Windows:
    """All windows of a trace by split, each in order of time.

    Attributes:
        length_s: measured length of each.
        mean_e2e_s: of the default policy on the whole trace, which set the length.
        notes: sentences for people.
        probe: a short stretch of training to find faults and twins on; None when none can start.
        variants: training windows under other conditions, for the best of a search.
        repeats: validation and sealed windows under a second seed.
        doubts: a few sealed windows with worse predictions of lengths, and with none.
    """

    training: tuple[Scenario, ...]
    validation: tuple[Scenario, ...]
    sealed: tuple[Scenario, ...]
    length_s: float
    mean_e2e_s: float
    notes: tuple[str, ...]
    probe: Scenario | None = None
    variants: tuple[Scenario, ...] = ()
    repeats: tuple[Scenario, ...] = ()
    doubts: tuple[Scenario, ...] = ()

    @property
    def all(self) -> tuple[Scenario, ...]:
        """Every window, as it happened."""
        return self.training + self.validation + self.sealed

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """All that a run may ask to be scored on."""
        probe = () if self.probe is None else (self.probe,)
        return probe + self.all + self.variants + self.repeats + self.doubts

    @property
    def can_prove(self) -> bool:
        """Are there enough sealed windows for any verdict but "not enough evidence"?"""
        return len(self.sealed) >= MIN_WINDOWS

    def with_repeats(self, windows: tuple[Scenario, ...]) -> tuple[str, ...]:
        """Names of windows, each followed by those of its repeats."""
        beside = {window.name: [window.name] for window in windows}
        for repeat in self.repeats:
            if repeat.unit in beside:
                beside[repeat.unit].append(repeat.name)
        return tuple(name for names in beside.values() for name in names)


def split_windows(
    trace: Trace,
    cluster: ClusterSpec,
    capacity: Pairing | None = None,
    *,
    seed: int = 0,
    mode: Mode = "open",
) -> Windows:
    """Cut a trace, already at its load, into windows.

    About 40 % of them are to search on, 20 % to choose on and 40 % to prove on, in order of time;
    the proof gets its eight first.

    Raises:
        SimulationError: the trace is too short for even a few windows.
    """
    whole = Setup(trace, cluster, capacity, mode, seed)
    e2e_s = _mean_e2e_s(whole)
    warmup_s = WARMUP_TIMES_E2E * e2e_s
    fitting = int((trace.span_s - warmup_s) / (TIMES_E2E * e2e_s))
    count = max(min(fitting, MOST_WINDOWS), FEWEST_WINDOWS)
    length_s = (trace.span_s - warmup_s) / count
    if length_s <= 0.0 or len(trace) < 10 * count:
        raise SimulationError(
            f"{trace.meta.name} is too short to search and to prove on; give a longer trace, or "
            "--span-s to continue it with its own generator."
        )
    first, second = _edges(count)
    cut = []
    learned = _learned(whole, [k * length_s for k in range(count)])
    for k in range(count):
        end = next(edge for edge in (first, second, count) if k < edge)
        limit_s = trace.span_s if end == count else warmup_s + end * length_s
        knowing = replace(whole, learned=learned[k])
        cut.append(_window(k, knowing, warmup_s, length_s, limit_s))
    training, later = tuple(cut[:first]), tuple(cut[first:])
    return Windows(
        training,
        tuple(cut[first:second]),
        tuple(cut[second:]),
        length_s,
        e2e_s,
        tuple(_notes(fitting, count - second, trace.span_s, e2e_s)),
        probe_of(whole, training[-1].stop_s),
        variants_of(training),
        second_seeds(later),
        doubts_of(cut[second:]),
    )


def _learned(whole: Setup, times_s: list[float]) -> list[bytes]:
    """What a length predictor that learns knows when each window begins."""
    seen = seen_through(whole.cluster)
    if seen.predictor.mode != "measured":
        return [b""] * len(times_s)
    return learned_by(replace(whole, cluster=seen), times_s)


def _edges(count: int) -> tuple[int, int]:
    """Where validation and where the sealed windows begin."""
    sealed = round((1.0 - TRAINING_SHARE - VALIDATION_SHARE) * count)
    if count >= PROVABLE_WINDOWS:
        sealed = max(sealed, MIN_WINDOWS)
    open_ = count - sealed
    return round(open_ * TRAINING_SHARE / (TRAINING_SHARE + VALIDATION_SHARE)), open_


def _notes(fitting: int, sealed: int, span_s: float, e2e_s: float) -> list[str]:
    """What people should know before a search is paid for."""
    notes = []
    if fitting < FEWEST_WINDOWS:
        notes.append(
            f"windows are shorter than {TIMES_E2E:g} mean end-to-end times ({e2e_s:.3g} s): a "
            "longer trace, a lower load or a smaller cluster gives firmer evidence"
        )
    if sealed < MIN_WINDOWS:
        needed_s = (PROVABLE_WINDOWS * TIMES_E2E + WARMUP_TIMES_E2E) * e2e_s
        notes.append(
            f"only {sealed} sealed windows: fewer than {MIN_WINDOWS} prove nothing, whatever is "
            f"found; {needed_s:.0f} s of trace give enough (these are {span_s:.0f} s): use a "
            "longer trace, --span-s, or a lower load"
        )
    return notes


def _mean_e2e_s(setup: Setup) -> float:
    outcome = simulate(setup, default_policy(), default_policy())
    return measure(outcome, setup, build_hardware(setup.cluster)).objective_s


def _window(k: int, whole: Setup, warmup_s: float, length_s: float, limit_s: float) -> Scenario:
    """Window `k`; its capacity goes on while its requests finish, but not beyond its split."""
    start_s = warmup_s + k * length_s
    stop_s = start_s + length_s
    stretch = whole.trace.slice(start_s - warmup_s, stop_s)
    part = None
    if whole.capacity is not None:
        later = max(min(start_s + 4.0 * length_s, limit_s), stop_s)
        part = whole.capacity.slice(start_s - warmup_s, min(later, whole.capacity.trace.span_s))
    return Scenario(
        f"w{k:02d}",
        stretch,
        whole.cluster,
        part,
        warmup_s,
        whole.seed + k,
        whole.mode,
        start_s,
        stop_s,
        learned=whole.learned,
    )
