"""Classes: who belongs where, what each is promised, deadlines, deferral, and fairness."""

import numpy as np
import pytest

from sandbox.class_metrics import Served, tenant_fairness
from sandbox.classes import classes_of, classify, patient
from sandbox.cluster import ClusterError, ClusterSpec, parse_cluster
from sandbox.engine import load_policy
from sandbox.hardware import build_hardware
from sandbox.kernel.program import Program
from sandbox.kernel.state import FINISHED, PS_PER_S, REJECTED
from sandbox.metrics import measure
from sandbox.replay import default_policy
from sandbox.simulation import Setup, build, simulate
from sandbox.verifier import verify
from telemetry.trace import Trace, TraceMeta

PLAIN = """
model = "Llama-3.1-8B"
[[pool]]
gpu = "H100"
count = 1
"""
PARTED = PLAIN + """
[[class]]
name = "gold"
tenants = ["t1"]
weight = 4.0
deadline_s = 3.0
slo = {ttft_s = 0.5, tpot_s = 0.05, e2e_s = 9.0}

[[class]]
name = "long"
prompt_min_tokens = 1000
offline = true
max_hold_s = 20.0
"""


def trace(n=6, **columns):
    given = {
        "arrival_s": np.arange(n) * 0.1, "prompt_tokens": np.full(n, 100),
        "output_tokens": np.full(n, 10), "span_s": 10.0,
    }  # fmt: skip
    return Trace.of(TraceMeta(name="c"), **(given | columns))


MIXED = trace(
    5, tenant=[1, 0, 0, 0, 1], prompt_tokens=[10, 2000, 10, 10, 2000],
    online=[True, True, True, False, False],
)  # fmt: skip


def ran(cluster, load, text=None, **options):
    policy = load_policy(verify(text), engine="interpreted") if text else default_policy()
    setup = Setup(load, parse_cluster(cluster), **options)
    return setup, simulate(setup, policy, default_policy())


def test_the_first_class_that_matches_takes_a_request_and_the_rest_are_online_or_offline():
    cluster = parse_cluster(PARTED)
    assert [one.name for one in classes_of(cluster)] == ["gold", "long", "online", "offline"]
    ids, online = classify(MIXED, cluster)
    assert ids.tolist() == [1, 2, 3, 4, 1]
    assert online.tolist() == [True, False, True, False, False]


def test_a_last_class_without_conditions_leaves_no_rest():
    cluster = parse_cluster(PARTED + '[[class]]\nname = "all-else"\n')
    assert classify(MIXED, cluster)[0].tolist() == [1, 2, 3, 3, 1]


@pytest.mark.parametrize(("text", "said"), [
    ('[[class]]\nname = "online"\n', "taken"),
    ('[[class]]\nname = "a"\n[[class]]\nname = "a"\n', "one name"),
    ("".join(f'[[class]]\nname = "c{k}"\nonline = true\n' for k in range(6)), "no room"),
])  # fmt: skip
def test_classes_that_cannot_be_are_refused(text, said):
    with pytest.raises(ClusterError, match=said):
        parse_cluster(PLAIN + text)


def test_requests_carry_what_their_class_is_promised():
    sim = build(Setup(MIXED, parse_cluster(PARTED)), default_policy(), default_policy())
    row, limits = sim.requests, sim.settings[0]
    assert row["weight"].tolist() == [4.0, 1.0, 1.0, 1.0, 4.0]
    assert limits["ttft_slo"][:5].tolist() == [0.5, 0.5, 600.0, 2.0, 600.0]
    assert limits["class_deadline"][:4].tolist() == [3.0, 3.0, 3600.0, 60.0]


def test_the_window_has_a_row_for_every_class():
    text = '"""Plans with five rows."""\n\n\n'
    text += "def should_reschedule(window, cluster, plan, memory):\n"
    text += "    return len(window.classes) == 5 and window.classes[1].requests == 2\n"
    policy = load_policy(verify(text), engine="interpreted")
    sim = build(Setup(MIXED, parse_cluster(PARTED)), policy, default_policy())
    program = Program(sim)
    program.start()
    while program.run(100):
        pass
    assert len(program.sim.class_stats) == 5
    assert not program.sim.class_stats["queued"].any()


def test_numbers_come_class_by_class():
    setup, outcome = ran(PARTED, MIXED)
    found = measure(outcome, setup, build_hardware(setup.cluster)).to_json()["classes"]
    assert {name: row["requests"] for name, row in found.items()} == {
        "gold": 2.0, "long": 1.0, "online": 1.0, "offline": 1.0}  # fmt: skip
    assert found["gold"]["deadline_attainment"] == 1.0
    assert found["online"]["deadline_attainment"] is None


def test_one_class_of_requests_prints_no_classes():
    setup, outcome = ran(PLAIN, trace())
    assert measure(outcome, setup, build_hardware(setup.cluster)).classes == {}


HOLDS = '"""Waits."""\n\n\ndef route(request, instances, memory):\n    return HOLD\n'


def test_a_class_is_held_as_long_as_its_own_limit():
    _, outcome = ran(PARTED, MIXED, HOLDS, stop_s=60.0)
    waited_s = (outcome.first - outcome.entered) / PS_PER_S
    assert np.all(waited_s[[0, 2, 3, 4]] < 6.0)
    assert 20.0 <= waited_s[1] < 21.0


LATE = PLAIN + '[[class]]\nname = "now"\ndeadline_s = 2.0\ndrop_late = true\n'


def test_what_is_held_past_its_deadline_is_dropped_at_the_deadline():
    _, outcome = ran(LATE, trace(), HOLDS)
    assert set(outcome.state) == {REJECTED}
    assert (outcome.finish - outcome.entered).tolist() == [2 * PS_PER_S] * 6


def test_what_waits_in_an_engine_is_dropped_and_what_runs_is_finished():
    one = LATE + "[engine]\nmax_num_seqs = 1\n"
    _, outcome = ran(one, trace(3, output_tokens=[900, 10, 10]))
    assert outcome.state.tolist() == [FINISHED, REJECTED, REJECTED]
    assert outcome.finish[0] - outcome.entered[0] > 2 * PS_PER_S
    assert (outcome.finish - outcome.entered)[1:].tolist() == [2 * PS_PER_S] * 2


def test_a_late_head_that_was_not_admitted_makes_way_for_the_next():
    text = '"""Only short ones."""\n\n\ndef admit(request, instance, memory):\n'
    text += "    return request.prompt_tokens < 150\n"
    _, outcome = ran(LATE, trace(2, prompt_tokens=[200, 100], arrival_s=[0.0, 1.0]), text)
    assert outcome.state.tolist() == [REJECTED, FINISHED]
    assert outcome.first[1] > outcome.finish[0] == 2 * PS_PER_S


def test_measuring_a_fleet_drops_and_times_out_nothing():
    cluster = patient(ClusterSpec.model_validate(parse_cluster(LATE).model_dump()), 100.0)
    assert [(one.max_hold_s, one.drop_late) for one in classes_of(cluster)] == [(100.0, False)]


def test_fairness_by_hand():
    load = trace(4, tenant=[0, 0, 1, 1])
    done = np.array([True, True, True, False])
    time_s = np.array([2.0, 2.0, 1.0])
    served = Served(np.ones(4, bool), done, time_s, time_s, time_s, np.ones(3, bool), np.zeros(3))
    # mean speeds of the two tenants: 1/2, and (1 + 0) / 2
    assert tenant_fairness(served, load, np.ones(4)) == pytest.approx(1.0)
    alone = np.array([1.0, 1.0, 0.0, 1.0])
    assert tenant_fairness(served, load, alone) == pytest.approx(0.5)
