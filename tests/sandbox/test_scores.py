from sandbox.scores import WORST_OBJECTIVE_S, Candidate, worst_score


def test_parameters_do_not_change_the_source_digest():
    assert Candidate("x").source_digest == Candidate("x", {"A": 1.0}).source_digest


def test_a_window_without_a_score_is_the_worst_case_and_says_why():
    score = worst_score("w", "timeout")
    assert (score.objective, score.faults, score.fault) == (WORST_OBJECTIVE_S, 1, "timeout")
