"""The daemon's turns: what it does and says, and that it goes on wherever it was killed."""

import itertools
from dataclasses import replace

import pytest
from fleet import RULE, Killed, MadeUp, World, killing

from evolver.daemon.core import Step
from evolver.daemon.deciding import spent
from evolver.daemon.job import run_of
from evolver.daemon.protocols import Ended, Event
from evolver.daemon.watching import live_digest
from policy_store import PolicyStore
from policy_store.errors import Fenced
from policy_store.lifecycle import State
from policy_store.records import Alias, Ejection, HostReport


@pytest.fixture
def store(tmp_path):
    with PolicyStore.open(tmp_path / "store.db") as opened:
        yield opened


@pytest.fixture
def world(store, tmp_path):
    return World(store, tmp_path / "daemon")


def ruled(world):
    world.store.rules.install(RULE, "ada", "a month of these was fine")
    return world


def test_an_improvement_goes_from_traffic_to_every_host_and_the_audit_tells_why(world):
    ruled(world).turns(Step.TRIAL)
    policy = world.store.slot(Alias.CANARY).digest
    world.hosts_say("better")
    world.turns(Step.WATCHING)
    assert world.store.slot().digest == policy
    assert world.outcomes() == ["promoted"]
    assert world.actions() == [
        "daemon_leads", "daemon_evolves", "daemon_evolved", "daemon_asked", "daemon_trial",
        "daemon_learned",
    ]  # fmt: skip
    by_others = {one.action: one.actor for one in world.store.history(policy)
                 if not one.action.startswith("daemon_")}  # fmt: skip
    assert by_others["approved"] == by_others["placed"] == by_others["activated"] == "rule:any"
    assert "expected" in world.said("daemon_evolves")[0]
    (episode,) = world.store.daemons.episodes("default")
    assert episode.facts["spent"]["seconds"] == 7.0
    assert world.published >= 4
    assert world.store.audit.verify().intact


def test_a_bad_candidate_is_rolled_back_and_the_next_search_expects_less(world):
    ruled(world).turns(Step.TRIAL)
    slot = world.store.slot(Alias.CANARY)
    thrown = Ejection(slot.digest, slot.sequence, "LATENCY", "p99 doubled", world.store.rules.now())
    world.hosts_say("worse", (thrown,))
    world.turns(Step.WATCHING)
    assert world.outcomes() == ["rolled_back"]
    assert world.store.show(slot.digest).version.state is State.EJECTED
    assert any("p99 doubled" in note for note in world.said("daemon_trial"))
    world.turns(Step.EVOLVING)
    first, second = world.said("daemon_evolves")
    assert "gain of 3.0% is expected" in first
    assert "rolled back" in second
    assert "gain of 1.5% is expected" in second


def test_without_a_rule_it_is_left_to_a_person(world):
    world.turns(Step.PROPOSED)
    world.turns(Step.WATCHING)
    assert world.outcomes() == ["left to a person"]
    (waiting,) = world.store.list_policies()
    assert waiting.state is State.EVALUATED
    assert world.said("daemon_asked") == ["It is left to a person. No approval rule is installed."]


def test_a_trial_of_a_person_is_watched_and_said_once(world):
    world.turns(Step.PROPOSED)
    world.turns(Step.WATCHING)
    (policy,) = world.store.list_policies()
    world.store.approve(policy.digest, "ada", "good")
    world.store.place(policy.digest, Alias.CANARY, 0, "ada", "try", weight=0.1)
    world.hosts_say("worse")
    for _ in range(3):
        world.turn()
    (note,) = world.said("daemon_trial")
    assert "left to a person" in note
    assert world.store.slot(Alias.CANARY).digest == policy.digest


def test_nothing_found_is_learned_and_the_same_traffic_is_no_cause(world):
    world.searches.finds = False
    world.turns(Step.EVOLVING)
    world.turns(Step.WATCHING)
    assert world.outcomes() == ["no_change"]
    for _ in range(5):
        assert world.turn().choice.code == "steady"
    assert len(world.said("daemon_waits")) == 1
    world.traffic.kind = 2.0
    world.turns(Step.EVOLVING)
    assert world.said("daemon_evolves")[1].startswith("Changed.")


def test_a_search_that_breaks_off_goes_on_and_at_last_is_given_up(world):
    world.searches.faults = [Ended("It ran out of memory.")] * 2
    world.turns(Step.PROPOSED)
    assert [note for note in world.said("daemon_saw") if "ran out of memory" in note]
    world.turns(Step.WATCHING)
    world.searches.faults, world.traffic.kind = [Ended("Too short.", hopeless=True)], 2.0
    world.turns(Step.EVOLVING)
    world.turns(Step.WATCHING)
    assert world.outcomes()[-1] == "failed"
    assert world.said("daemon_evolved")[-1].endswith("given up. Too short.")


def test_what_happens_to_the_cluster_is_in_the_audit(world):
    world.traffic.events = [Event(1.0, "gone", "node-1 (2 x L40S) is gone.", {"gpus": 2})]
    world.turn()
    assert world.said("daemon_saw") == ["node-1 (2 x L40S) is gone."]


def test_of_very_much_that_happens_at_once_the_rest_is_summed_up(world):
    world.traffic.events = [Event(1.0, "gone", f"node-{k} is gone.") for k in range(500)]
    world.turn()
    said = world.said("daemon_saw")
    assert len(said) == 65
    assert said[-1] == "More happened to the cluster at once: 436 gone."


def test_trials_go_on_and_hosts_hear_of_it_whatever_logs_and_metrics_hold(world):
    ruled(world).turns(Step.TRIAL)
    policy = world.store.slot(Alias.CANARY).digest
    world.hosts_say("better")
    before = world.published

    def hostile(*_):
        raise ZeroDivisionError

    world.traffic.poll = world.traffic.see = hostile
    with pytest.raises(ZeroDivisionError):
        world.turn()
    assert world.store.slot().digest == policy
    assert world.published > before


def test_a_search_compares_with_what_hosts_run_when_they_threw_the_active_policy_out(world):
    store = world.store
    policy = MadeUp.proposed(store, "ada", 9.0)
    store.approve(policy, "ada", "good")
    store.activate(policy, 0, "ada", "go")
    slot, now = store.slot(), store.rules.now()
    thrown = Ejection(policy, slot.sequence, "ERROR", "it raised", now)
    runs = HostReport("h", "default", slot.sequence, policy, now)
    store.report_host(replace(runs, host="other"))
    store.report_host(replace(runs, digest=None, ejections=(thrown,)))
    assert live_digest(store, world.config, now) == policy  # as one host says
    store.report_host(replace(runs, host="other", digest=None, ejections=(thrown,)))
    world.turns(Step.EVOLVING)
    (entry,) = store.audit.entries(actor="daemon:default", action="daemon_evolves")
    assert entry.details["against"] == "default"
    assert store.slot().digest == policy


def test_the_end_of_one_search_is_not_taken_for_that_of_the_next(world):
    world.searches.finds = False
    world.turns(Step.EVOLVING)
    world.turns(Step.WATCHING)
    world.traffic.said = world.traffic.stale = "Most of the gain is gone."
    world.turns(Step.EVOLVING)
    world.turns(Step.WATCHING)
    assert world.said("daemon_saw") == ["Most of the gain is gone."]


def test_a_search_that_broke_off_counts_with_all_that_it_may_have_spent(world):
    world.searches.breaks_off = True
    world.turns(Step.EVOLVING)
    world.turns(Step.WATCHING)
    (episode,) = world.store.daemons.episodes("default")
    assert episode.outcome == "failed"
    assert spent([episode], "seconds") == world.config.run.seconds


def test_who_does_not_lead_any_more_ends_no_run_of_the_one_who_does(world):
    world.searches.ensure = lambda job, folder: None
    world.turns(Step.EVOLVING)
    run = world.store.runs.start_run("evolve", {"inputs": {"daemon": "default", "episode": 1}})
    paused, lease = world.daemon, world.lease
    world.new_daemon()
    world.searches._ended = Ended("It cannot go on.", hopeless=True)
    with pytest.raises(Fenced):
        paused.turn(lease)
    assert world.store.runs.get_run(run.id).finished_at is None


def test_the_run_of_an_episode_is_found_among_very_many(world):
    world.searches.ensure = lambda job, folder: None
    world.turns(Step.EVOLVING)
    run = world.store.runs.start_run("evolve", {"inputs": {"daemon": "default", "episode": 1}})
    for _ in range(120):
        world.store.runs.start_run("evolve", {})
    assert run_of(world.store, "default", 1).id == run.id
    assert run_of(world.store, "default", 2) is None


def test_after_a_change_it_waits_for_enough_of_the_new_traffic_and_searches_on_that(world):
    world.traffic.since = 5.0
    assert world.turn().choice.code == "settling"
    world.traffic.since = 300.0
    world.turns(Step.EVOLVING)
    (episode,) = world.store.daemons.episodes("default")
    window = episode.facts["window"]
    assert window["until_unix_s"] - window["began_unix_s"] == pytest.approx(300.0)
    assert window["requests"] < 300


def test_a_promise_that_does_not_hold_any_more_is_a_cause(world):
    world.searches.finds = False
    world.turns(Step.EVOLVING)
    world.turns(Step.WATCHING)
    world.traffic.said = world.traffic.stale = "Most of the gain is gone."
    world.turns(Step.EVOLVING)
    assert world.said("daemon_saw") == ["Most of the gain is gone."]
    assert world.said("daemon_evolves")[1].startswith("Most of the gain is gone.")


def test_a_daemon_that_was_paused_finds_itself_fenced(world):
    ruled(world).turns(Step.TRIAL)
    paused, lease = world.daemon, world.lease
    world.hosts_say("better")
    world.new_daemon()
    before = world.store.audit.head()
    with pytest.raises(Fenced):
        paused.turn(lease)
    assert world.store.audit.head() == before
    world.turns(Step.WATCHING)
    assert world.outcomes() == ["promoted"]


@pytest.mark.parametrize(
    ("good", "after"), [(True, True), (False, False)],
    ids=["promoted, after its commit", "rolled back, before its commit"],
)  # fmt: skip
def test_killed_at_every_decision_it_comes_to_the_same_end(template, tmp_path, after, good):
    for at in itertools.count(1):
        with PolicyStore.open(template(at)) as store:
            world = ruled(World(store, tmp_path / f"daemon{at}"))
            with killing(store, at, after):
                killed = not_killed(lambda world=world: life(world, good))
            if killed:
                world.new_daemon()
                life(world, good)
            check(world, good)
        if not killed:
            break
    assert at > 6


def not_killed(live):
    try:
        live()
    except Killed:
        return True
    return False


def life(world, good):
    """From traffic to what becomes of the policy, whatever was done of it before."""
    for _ in range(20):
        if world.outcomes()[:1] not in ([], [None]):
            return
        slot = world.store.slot(Alias.CANARY)
        if slot.digest is not None:
            hosts_say(world, slot, good)
        world.turn()
    raise AssertionError(world.actions())


def hosts_say(world, slot, good):
    """Outside of the daemon's process."""
    with PolicyStore.open(world.searches.where) as other:
        here, world.store = world.store, other
        thrown = Ejection(slot.digest, slot.sequence, "ERROR", "it raised", other.rules.now())
        world.hosts_say("better" if good else "worse", () if good else (thrown,))
        world.store = here


def check(world, good):
    (episode,) = world.store.daemons.episodes("default")
    assert episode.outcome == ("promoted" if good else "rolled_back")
    assert len(world.store.runs.list_runs()) == 1
    entries = world.store.audit.entries(limit=1000)
    assert world.store.audit.verify().intact
    for action in ("approved", "placed", "activated" if good else "ejected"):
        assert len([one for one in entries if one.action == action]) == 1
    for action in ("daemon_evolves", "daemon_evolved", "daemon_asked", "daemon_learned"):
        assert len([one for one in entries if one.action == action]) == 1


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Copies of a fresh store, by number."""
    import shutil

    folder = tmp_path_factory.mktemp("stores")
    PolicyStore.open(folder / "fresh.db").close()
    numbers = itertools.count()
    return lambda _: shutil.copy(folder / "fresh.db", folder / f"{next(numbers)}.db")
