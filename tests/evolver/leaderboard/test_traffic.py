"""Traffic of a scenario: what is drawn is as the file says, the same every time."""

import numpy as np
import pytest

from evolver.errors import ExperimentRefused
from evolver.leaderboard.spec import Drawn, Part
from evolver.leaderboard.traffic import traffic
from evolver.leaderboard.workflows import BLOCK_TOKENS, draw_requests
from telemetry.blocks import roots

LENGTHS = {"prompt": {"median": 300, "sigma": 0.4}, "output": {"median": 40}}


def drawn(**more):
    return Drawn.model_validate({**LENGTHS, **more})


def part(requests=200, **more):
    source = {} if {"profile", "file"} & more.keys() else {"drawn": LENGTHS}
    return Part.model_validate({"requests": requests, **source, **more})


def test_equal_seeds_are_equal_bits_and_others_are_not():
    parts = (part(), part(profile="azure2023_conv"))
    assert traffic(parts, 1, None).digest() == traffic(parts, 1, None).digest()
    assert traffic(parts, 1, None).digest() != traffic(parts, 2, None).digest()


def test_lengths_and_arrivals_are_as_asked():
    law = {"arrivals": "gamma", "cv": 3.0, "correlation": 0.8}
    trace = draw_requests(drawn(output={"median": 80, "sigma": 0.5}, **law), 4000, 3)
    gaps = np.diff(trace.arrival_s)
    assert gaps.std() / gaps.mean() == pytest.approx(3.0, rel=0.15)
    logs = np.log(trace.prompt_tokens), np.log(trace.output_tokens)
    assert np.corrcoef(*logs)[0, 1] == pytest.approx(0.8, abs=0.05)
    assert np.median(trace.prompt_tokens) == pytest.approx(300, rel=0.05)


def test_calls_of_a_stage_wait_for_all_of_the_stage_before():
    flow = {"stages": {"median": 3}, "width": {"median": 2}}
    trace = draw_requests(drawn(workflow=flow), 50, 0)
    first = trace.session == 0
    assert list(trace.after[first]) == [-1, 0, 0, 1, 1]
    assert [list(trace.joins.rows[trace.joins.owners == row]) for row in (3, 4)] == [[2], [2]]
    assert (trace.arrival_s == trace.arrival_s[roots(trace.after)]).all()


def test_a_history_is_what_was_asked_and_answered_before():
    flow = {"stages": {"median": 3}, "history": True}
    trace = draw_requests(drawn(workflow=flow), 90, 0)
    later = np.flatnonzero(trace.after >= 0)
    before = trace.after[later]
    assert (trace.prompt_tokens[later] > trace.prompt_tokens[before] + 40).all()
    for row in later:
        known = _blocks(trace, trace.after[row])
        assert np.array_equal(known, _blocks(trace, row)[: len(known)])


def test_prompts_of_a_group_begin_alike_and_others_do_not():
    prefix = {"groups": 2, "tokens": {"median": 256}, "order": "scan"}
    trace = draw_requests(drawn(prefix=prefix), 20, 0)
    heads = [tuple(_blocks(trace, row)[: 256 // BLOCK_TOKENS]) for row in range(4)]
    assert heads[0] == heads[2]
    assert heads[1] == heads[3]
    assert not set(heads[0]) & set(heads[1])


def test_parts_come_in_their_phases_and_keep_their_tenants():
    day = {"start": 0.0, "stop": 0.5, "cycles": 4}
    night = {"start": 0.5, "stop": 1.0, "cycles": 4}
    parts = (part(tenant="a", phase=day), part(100, tenant="b", phase=night, online=False))
    trace = traffic(parts, 0, None)
    share = trace.arrival_s / trace.span_s * 4 % 1.0
    a = trace.tenant == trace.tenants.index("a")
    assert (a.sum(), (~a).sum()) == (200, 100)
    assert share[a].max() < 0.51
    assert (share[~a] > 0.49).sum() >= 99  # the last instant of all is the end of a cycle
    assert trace.online[a].all()
    assert not trace.online[~a].any()


def test_files_are_looked_for_below_their_folder_only(tmp_path):
    with pytest.raises(ExperimentRefused, match="--traces"):
        traffic((part(file="x.csv"),), 0, None)
    with pytest.raises(ExperimentRefused, match="not below"):
        traffic((part(file="../x.csv"),), 0, tmp_path)


def _blocks(trace, row):
    return trace.block_ids[trace.block_offsets[row] : trace.block_offsets[row + 1]]


def test_a_workflow_of_more_stages_than_calls_ends_with_its_calls():
    flow = {"stages": {"median": 1e6, "most": 1_000_000}}
    trace = draw_requests(drawn(workflow=flow), 1000, 3)
    assert np.bincount(trace.session).tolist() == [512, 512]
