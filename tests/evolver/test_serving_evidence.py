"""Evidence by cause: shares, the rival that is better, and why."""

from hypothesis import given
from hypothesis import strategies as st

from evolver.serving_evidence import best_rival, evidence_lines
from evolver.task import Gate, WindowResult


def result(window, waiting, slowed=1.0, objective=None, **more):
    metrics = {
        "waiting_mean_s": waiting, "prefill_mean_s": 0.5, "decode_mean_s": 0.5,
        "slowed_mean_s": slowed, "preemption_mean_s": 0.0, "e2e_mean_s": waiting + slowed + 1.0,
    }  # fmt: skip
    objective = waiting + slowed + 1.0 if objective is None else objective
    return WindowResult(window, objective, {**metrics, **more})


MINE = {"a": result("a", 2.0), "b": result("b", 2.0, slowed=3.0)}
RIVAL = {"a": result("a", 2.5), "b": result("b", 1.0, slowed=3.0)}


def test_shares_of_the_mean_request_come_first():
    assert "| share of all |  | 40 % | 10 % | 10 % | 40 % | 0.0 % |" in evidence_lines(MINE)


def test_the_greatest_loss_comes_first_with_its_cause():
    lines = evidence_lines(MINE, [RIVAL, MINE])
    at = next(k for k, line in enumerate(lines) if "it wins 0 of 2" in line)
    assert lines[at + 3] == "| b | 6 | 5 | 20 % worse | waiting +1 |"
    assert lines[at + 4] == "| a | 4 | 4 | equal | waiting 0 |".replace("waiting 0", "waiting +0")


def test_lost_requests_are_a_cause():
    lost = {"a": result("a", 2.0, objective=94.0, unfinished=7.0)}
    lines = evidence_lines(lost, [MINE])
    assert "| a | 94 | 2 | 0.5 | 0.5 | 1 | 0 | 90 |" in lines
    assert any(line.endswith("| lost +90 |") for line in lines)


def test_what_is_nought_everywhere_gets_no_column():
    some = {"a": result("a", 1.0, preemptions=0.0, rejected=2.0, ttft_p99_s=1.0)}
    (head,) = [line for line in evidence_lines(some) if "TTFT p99 s" in line]
    assert head == "| window | TTFT p99 s | rejected |"


def test_only_remarks_of_the_worst_windows_are_told():
    told = {
        name: WindowResult(name, value, {}, None, remarks=(f"remark {name}",))
        for name, value in zip("abcde", (1.0, 5.0, 3.0, 2.0, 4.0), strict=True)
    }
    lines = evidence_lines(told)
    assert [line for line in lines if "remark" in line] == [
        "b: remark b", "e: remark e", "c: remark c",
    ]  # fmt: skip


@given(st.dictionaries(st.sampled_from(["ttft_p99_s", "plans", "kanarienvogel"]), st.floats()))
def test_any_metrics_can_be_told_and_unknown_names_are_not(metrics):
    lines = evidence_lines({"a": WindowResult("a", 1.0, metrics, "timeout")})
    assert not any("kanarienvogel" in line for line in lines)


def test_a_broken_guardrail_is_told():
    gates = (Gate("a", True, "Kept."), Gate("b", False, "p99 is +9.0 %."))
    (line,) = [line for line in evidence_lines(MINE, (), gates) if "guardrail" in line]
    assert line.endswith("p99 is +9.0 %.")
    assert "It keeps all guardrails against the best human policy." in evidence_lines(
        MINE, (), gates[:1]
    )


def test_groups_are_told_by_number():
    some = {"requests_class_1": 9.0, "charged_class_1_s": 6.0, "alone_class_1_s": 2.0}
    lines = evidence_lines({"a": result("a", 1.0, **some), "b": result("b", 1.0, **some)})
    assert "| class 1 | 18 | 3 |" in lines


def test_the_best_rival_is_best_over_all_windows():
    assert best_rival([MINE, RIVAL]) is RIVAL
    assert best_rival([]) is None
