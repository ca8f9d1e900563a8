import numpy as np
import pytest
from planning_policies import BY_RATE, ENDLESS, LATE_FAULT, LATE_GREED, PREFILL_ONLY, TWO

from evolver.library import names, read
from serving_adapter.decision import BUILT_IN_DIGEST, Author
from serving_adapter.errors import PolicyUnusable
from serving_adapter.planning.cluster_rows import PoolReading


def test_the_count_follows_the_rate_and_each_plan_says_who_decided_it(stand):
    stand.go_live(BY_RATE)
    counts = []
    for requests in (0, 150, 250, 250, 20):
        wanted = stand.point(requests)
        counts.append(len(wanted.replicas) if wanted else None)
        assert wanted is None or (wanted.sequence, wanted.digest, wanted.author) == (
            1, stand.slot.live.active.digest, Author.ACTIVE,
        )  # fmt: skip
    assert counts == [None, 2, 3, None, 1]
    assert [one.result for one in stand.planner.recent] == [
        "kept", "planned", "planned", "kept", "planned",
    ]  # fmt: skip


@pytest.mark.parametrize("faulty", [LATE_FAULT, LATE_GREED])
def test_a_fault_ejects_and_the_last_good_decides_at_the_same_point(stand, faulty):
    stand.go_live(faulty, TWO)
    assert len(stand.point().replicas) == 1
    wanted = stand.point(queued_requests=77)
    assert (len(wanted.replicas), wanted.author) == (2, Author.LAST_GOOD)
    assert stand.slot.live.active is None
    assert len(stand.slot.latched) == 1


def test_an_invalid_plan_keeps_the_old_one_where_nobody_else_is_left(stand):
    stand.go_live(LATE_GREED)
    before = stand.point()
    assert stand.point(queued_requests=77) is None
    assert stand.planner.wanted is before
    last = stand.planner.recent[-1]
    assert (last.result, last.digest) == ("failed", BUILT_IN_DIGEST)
    assert last.reason.startswith("invalid-plan")


def test_the_default_plans_only_where_the_present_plan_cannot_stand(stand):
    stand.go_live(None)
    assert stand.point(replicas=3) is None
    wanted = stand.point(replicas=3, pools=(PoolReading(2),))
    assert (len(wanted.replicas), wanted.digest) == (2, BUILT_IN_DIGEST)


def test_nobody_is_asked_while_the_kill_switch_is_thrown(stand):
    stand.go_live(TWO)
    stand.slot.kill("a test")
    assert stand.point() is None


def test_hooks_that_a_policy_leaves_out_are_the_defaults(stand):
    stand.go_live('"""Routes only."""\n\n\ndef route(request, instances, memory):\n'
                  "    return instances[0].id\n")  # fmt: skip
    assert stand.point(replicas=0, pools=(PoolReading(3),)).digest == stand.slot.live.digest
    assert stand.point() is None


def test_memory_is_the_policys_own_and_zero_when_it_enters(stand):
    stand.go_live(BY_RATE)
    for _ in range(3):
        stand.point()
    (scope,) = stand.planner._scopes.values()
    assert scope.memory[0] == 3.0
    stand.go_live(BY_RATE)
    stand.point()
    (scope,) = stand.planner._scopes.values()
    assert scope.memory[0] == 1.0


def test_what_cannot_be_or_never_ends_is_not_even_loaded(stand, three, prepared):
    with pytest.raises(PolicyUnusable, match="nobody"):
        prepared(PREFILL_ONLY)
    from serving_adapter.planning import prepare

    ready = prepare.prepare_policy(ENDLESS, engine="interpreted", hooks=prepare.PLANNED_HOOKS)
    with pytest.raises(PolicyUnusable, match="fuel"):
        prepare.try_planner(ready, stand.planner.cluster, 100_000)


def test_library_policies_pass_the_planners_smoke_test(prepared):
    for name in names():
        prepared(read(name))


def test_what_is_not_known_is_missing_and_nothing_is_invented(stand):
    stand.go_live(BY_RATE)
    stand.point()
    stand.point(50)
    window = stand.planner.windows.window[0]
    row = window["classes"][0]
    assert row["rate_rps"] == pytest.approx(5.0)
    assert row["prompt_mean_tokens"] == pytest.approx(100.0)
    assert np.isnan([row["ttft_mean_s"], row["reuse"], window["busy"], window["kv_pressure"]]).all()
    assert window["classes"][1]["queued_requests"] == -1
