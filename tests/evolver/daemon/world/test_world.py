"""What a world is made of: traffic that comes again, candidates that are bad live only, checks."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import World
from world_checks import Evidence, all_checks, counted, overhead, served
from world_clock import jumping
from world_plan import SHORT, SMALL, Kind, Mishap, cluster_text
from world_policies import BAD_FAULTY, BAD_SLOW, BY_SPEED

from evolver.library import read
from sandbox.cluster import load_cluster
from sandbox.engine import load_policy
from sandbox.replay import replay
from sandbox.simulation import Setup
from sandbox.verifier import verify
from serving_adapter.emulation.load import LoadRequest, Served
from telemetry.request_rows import parse_rows
from telemetry.request_traces import trace_of


def answered(number, **fields):
    request = LoadRequest(float(number), 100, 4, number)
    usual = {"status": 200, "ok": True, "ttft_s": 0.5, "e2e_s": 1.0, "output_tokens": 4}
    return Served(request, **{**usual, "decision": f"b-{number}", **fields})


def as_logged(requests):
    """The trace that a search makes of requests, whose sessions a gateway had hashed."""
    rows = [
        {"arrived_unix_s": 1e9 + one.arrival_s, "prompt_tokens": one.prompt_tokens,
         "output_tokens": one.output_tokens, "session": 2**61 + one.session, "outcome": "ok",
         "stream": True, "usage": True, "waited_s": 0.0, "ttft_s": 0.1, "e2e_s": 0.2,
         "instance_id": 0}
        for one in requests
    ]  # fmt: skip
    return trace_of(parse_rows(rows).requests)


def left_behind(part, happened=()):
    plan = replace(SHORT, regimes=SHORT.regimes[:1])
    return Evidence(plan, Path(), [part], list(happened), {}, 1, 0.0)


def row(number, **fields):
    usual = {"decision": f"b-{number}", "outcome": "ok", "ttft_s": 0.49, "waited_s": 0.01,
             "attempts": 1}  # fmt: skip
    return {**usual, **fields}


def test_an_improvement_is_promoted_and_what_is_bad_live_taken_out_and_nobody_notices(tmp_path):
    world = World(SMALL, tmp_path, by_daemon=False, say=lambda *_, **__: None)
    with jumping() as world.clock:
        left = world.clock.run(world.run())
    broken = [check for check in all_checks(left) if not check.held]
    assert not broken
    assert set(left.bad.values()) == {Kind.BAD_FAULTY, Kind.BAD_SLOW}


def test_traffic_is_the_same_again_and_as_much_as_was_asked_for():
    found = SHORT.requests()
    assert found == SHORT.requests()
    assert found != replace(SHORT, seed=2).requests()
    for regime, part in zip(SHORT.regimes, found, strict=True):
        assert len(part) == pytest.approx(regime.rate_rps * regime.lasts_s, rel=0.35)
        mean = sum(one.prompt_tokens for one in part) / len(part)
        assert mean == pytest.approx(regime.prompt_tokens, rel=0.35)


def test_every_mishap_has_its_time_and_every_engine_comes_back_before_the_end():
    for one in SHORT.mishaps:
        assert 0.0 < one.at_s + one.lasts_s < SHORT.span_s
    assert {one.kind for one in SHORT.mishaps} >= {Kind.KILL_DAEMON, Kind.DRAIN, Kind.CRASH}
    assert Mishap(1.0, Kind.SLOW).engine < 0


@pytest.mark.parametrize("text", [BAD_FAULTY, BAD_SLOW, BY_SPEED])
def test_every_candidate_is_one_that_the_verifier_takes(text):
    assert verify(text).hooks == ("route",)


def test_bad_candidates_do_well_where_they_are_tested_and_only_there(tmp_path):
    (tmp_path / "cluster.toml").write_text(cluster_text())
    setup = Setup(as_logged(SHORT.requests()[0]), load_cluster(str(tmp_path / "cluster.toml")))
    texts = {"active": read("round_robin"), "faulty": BAD_FAULTY, "slow": BAD_SLOW}
    loaded = [(name, load_policy(verify(texts[name]), engine="interpreted")) for name in texts]
    active, *bad = replay(setup, loaded)
    for one in bad:
        assert one.faults == 0
        assert one.metrics.objective_s < 0.9 * active.metrics.objective_s


def test_a_lost_request_and_one_counted_twice_are_found():
    whole = [answered(number) for number in range(20)]
    log = [row(number) for number in range(20)]
    assert served(left_behind(whole), log).held
    assert counted(left_behind(whole), log).held
    assert not served(left_behind([*whole, answered(20, ok=False, status=502)]), log).held
    assert not counted(left_behind(whole), [*log, row(3)]).held
    assert not counted(left_behind(whole), log[1:]).held


def test_an_answer_may_break_off_only_where_an_engine_was_lost():
    broken = [answered(0, broken_unix_s=(1000.5,)), answered(1)]
    assert served(left_behind(broken, [(1000.0, "engine 1 (L40S) is lost: crash")]), []).held
    assert not served(left_behind(broken, [(900.0, "engine 1 (L40S) is lost: crash")]), []).held


def test_a_gateway_that_takes_a_tenth_of_the_wait_is_too_slow():
    part = [answered(number) for number in range(20)]
    assert overhead(left_behind(part), [row(number) for number in range(20)]).held
    slow = [row(number, ttft_s=0.40) for number in range(20)]
    assert not overhead(left_behind(part), slow).held
