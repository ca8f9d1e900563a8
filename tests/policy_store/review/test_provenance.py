"""What a run's record says about the policy that it proposed."""

from __future__ import annotations

from looks import read
from measurements import SOURCE

from policy_store import Origin
from policy_store.review.provenance import provenance_of

PARENT = """KNEE = 0.5


def route(request, instances, memory):
    return 0
"""


def member(digest: str, **fields: object) -> dict[str, object]:
    return {"candidate": digest, "name": f"name of {digest}", "proposer": "m", "parents": [],
            "score": 0.9, "text": PARENT, "parameters": {"KNEE": 0.25}} | fields  # fmt: skip


def exchange(**fields: object) -> dict[str, object]:
    return {"model": "openai/x", "ask": "1.2.0", "prompt_digest": "ab" * 32, "prompt_version": 2,
            "tokens_in": 100, "tokens_out": 10, "price_usd": 0.5, "price_known": True,
            **fields}  # fmt: skip


def proposed(store, events, finish=True):
    inputs = {"trace": {"path": "a trace.csv"}, "cluster": "edge-8b", "seed": 3, "load": None}
    run = store.runs.start_run("evolve", {"code": "c" * 64, "inputs": inputs}).id
    store.runs.append_events(run, events)
    version = store.propose(SOURCE, name="child", origin=Origin.LLM, author="evolver",
                            contract_version=1, run=run)  # fmt: skip
    if finish:
        store.runs.append_event(run, "run_finished", {"candidate": "child"})
        summary = {"policy": version.digest, "evaluations": 60, "seconds": 30, "tokens": 220,
                   "price_usd": 1.0}  # fmt: skip
        store.runs.finish_run(run, "improved", summary)
    return version


EVENTS = [
    ("human_scored", member("human", proposer="human")),
    ("model_exchange", exchange(error="RateLimited")),
    ("model_exchange", exchange()),
    ("model_exchange", exchange(ask="9.9.9")),
    ("candidate_scored", member("mother", parents=["human"], arm="claude", ask="1.2.0")),
    ("tuned", member("child", parents=["mother"], arm="tuner")),
]


def test_the_line_goes_back_to_what_people_wrote(store):
    found = provenance_of(store.runs, proposed(store, EVENTS))
    assert [one.digest for one in found.line] == ["child", "mother", "human"]
    assert [one.by for one in found.line] == ["tuner", "claude", "human"]
    assert found.searched_as == "child"
    (asked,) = found.asked
    assert (asked.tokens_in, asked.tries, asked.price_usd) == (200, 2, 1.0)
    assert found.spent == ("60 evaluations", "30 s", "220 tokens", "1.00 USD")
    commands = [command for _, command in found.commands]
    assert commands[0] == f"evolver run replay {found.run.id}"
    assert "'a trace.csv'" in commands[1]
    assert "--seed 3" in commands[1]
    assert "--load" not in commands[1]


def test_a_price_that_nobody_knows_is_none(store):
    events = [*EVENTS[:2], ("model_exchange", exchange(price_known=False)), *EVENTS[4:]]
    found = provenance_of(store.runs, proposed(store, events))
    assert found.asked[0].price_usd is None
    assert found.spent[-1] == "at a price that nobody knows"


def test_rows_that_make_no_sense_break_nothing(store):
    loop = [("candidate_scored", member("child", parents=["child"], score="x", parameters=[1]))]
    found = provenance_of(store.runs, proposed(store, [*loop, ("model_exchange", {"ask": 3})]))
    assert [one.score for one in found.line] == [None]
    unfinished = provenance_of(store.runs, proposed(store, EVENTS, finish=False))
    assert unfinished is not None
    by_hand = store.propose(PARENT, name="n", origin=Origin.PERSON, author="a", contract_version=1)
    assert provenance_of(store.runs, by_hand) is None


def test_the_page_shows_it_and_compares_with_the_parent(reviewing, store):
    version = proposed(store, EVENTS)
    html = reviewing.as_("ada").get(f"/policies/{version.digest}?against=parent").text
    assert "openai/x, asked as 1.2.0: 200 tokens in" in html
    assert f"evolver run replay {version.run}" in html
    assert "name of mother" in html
    (diff,) = read(html).all("table", "diff unified")
    assert "-KNEE = 0.25" in diff.text
