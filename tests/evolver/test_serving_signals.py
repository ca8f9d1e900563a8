"""Signals that a problem leaves silent: what the files have nothing of."""

from dataclasses import replace

from evolver.problem import Problem
from evolver.serving_signals import door_lines, silent_lines, silent_signals
from sandbox.cluster import load_cluster
from sandbox.replay import LoadReport
from sandbox.signal_profiles import signal_profile
from telemetry import generate, load_profile

REPORT = LoadReport(None, 1.0, 1.0, 1.0)


def problem(profile="azure2023_conv", cluster="edge-8b"):
    trace = generate(load_profile(profile), span_s=30.0, seed=0)
    return Problem(trace, load_cluster(cluster), REPORT)


def silent(asked):
    return silent_signals(asked, asked.trace)


def test_what_the_trace_has_nothing_of_is_silent():
    names = silent(problem())
    assert {"Request.session", "Request.workflow_age_s", "Instance.cached_prefix_tokens"} <= names
    assert not {"Request.prompt_tokens", "Instance.kv_used_tokens"} & names


def test_what_it_has_speaks():
    assert not {"Instance.cached_prefix_tokens", "Request.prefix_key"} & silent(
        problem("mooncake_conversation")
    )
    assert "Instance.transfer_s" not in silent(problem(cluster="h100-8b-pd"))


def test_only_what_the_hooks_can_see_is_told():
    lines = list(silent_lines(problem(), problem().trace))
    assert [line.partition(":")[0].split()[-1] for line in lines] == ["Instance", "Request"]


def test_what_the_door_does_not_tell_is_silent_and_what_it_tells_late_or_badly_is_said():
    asked = problem("mooncake_conversation")
    behind = replace(asked, cluster=asked.cluster.seen_by("gateway"))
    assert not list(door_lines(asked.cluster))
    known = signal_profile("gateway").missing & {
        f"Instance.{name}" for name in ("step_base_s", "prefill_backlog_tokens")
    }
    assert len(known) == 2
    assert known <= silent(behind)
    assert not known & silent(asked)
    said = " ".join(door_lines(behind.cluster))
    assert "20%" in said.replace(" %", "%")
    assert "previous call" in said
