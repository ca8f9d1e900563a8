"""What a page asks to tell what happened to a deployment, and whether anything has changed."""

from policy_store.records import Alias, HostReport


def test_decisions_about_a_deployment_newest_first(store, approved, go_live):
    first, second = approved(), approved()
    go_live(first)
    go_live(second, deployment="other")
    store.place(second, Alias.CANARY, 0, by="ada", note="try it", weight=0.1)
    store.eject(second, by="host-1", note="too slow")
    told = store.audit.about_deployment("default")
    assert [entry.action for entry in told] == ["ejected", "placed", "activated"]
    assert [entry.action for entry in store.audit.about_deployment("other")] == [
        "ejected", "activated",
    ]  # fmt: skip
    assert len(store.audit.about_deployment("default", limit=2)) == 2


def test_what_did_not_touch_a_deployment_is_not_told(store, approved, evaluated, go_live):
    go_live(approved())
    store.reject(evaluated(), by="ada", note="no use")
    told = store.audit.about_deployment("default")
    assert [entry.action for entry in told] == ["activated"]


def test_deployments_are_those_decided_for_or_reporting(store, approved, go_live):
    assert store.deployments() == ()
    go_live(approved(), deployment="eu")
    now = store.slot(deployment="eu").changed_at
    store.report_host(HostReport("host-1", "us", 0, None, now))
    assert store.deployments() == ("eu", "us")


def test_the_pulse_changes_with_decisions_hosts_and_runs(store, approved):
    seen = [store.pulse()]
    assert store.pulse() == seen[0]
    policy = approved()
    seen.append(store.pulse())
    store.report_host(HostReport("h", "default", 0, None, store.show(policy).version.created_at))
    seen.append(store.pulse())
    run = store.runs.start_run("evolve", {}).id
    store.runs.append_event(run, "scored", {})
    seen.append(store.pulse())
    store.runs.append_event(run, "scored", {})
    seen.append(store.pulse())
    store.runs.finish_run(run, "improved")
    seen.append(store.pulse())
    assert len(set(map(repr, seen))) == len(seen)


def test_policies_are_found_by_part_of_a_name_or_digits(store, proposed):
    one = proposed(name="Least 100%_Loaded")
    proposed(name="other")
    assert [found.digest for found in store.list_policies(words="100%_l")] == [one]
    assert [found.digest for found in store.list_policies(words=one[:8])] == [one]
    assert store.list_policies(words="%x") == ()
    assert sum(store.count_by_state().values()) == 2
