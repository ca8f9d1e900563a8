"""The family of a policy, as a picture and in words."""

import re

from measurements import SOURCE

from policy_store import Origin
from policy_store.review.family_tree import HEIGHT, WIDTH, tree_of

ALL = SOURCE.replace("inst.queued_requests", "inst.queued_prompt_tokens")


def test_without_any_policy_it_says_what_to_do(reviewing):
    assert "No policy has been proposed yet." in reviewing.as_("ada").get("/lineage").text


def test_each_ancestor_says_what_changed_in_it(reviewing, measured, store):
    parent = measured(name="parent")
    child = store.propose(
        ALL, name="<i>child</i>", origin=Origin.LLM, author="model", contract_version=1,
        parents=(parent,),
    ).digest  # fmt: skip
    html = reviewing.as_("ada").get(f"/lineage?policy={child[:12]}").text
    steps = html[html.index('id="steps"') :]
    assert "A model wrote it from" in steps
    assert "queued_prompt_tokens" in steps
    assert "+8.3 %" in steps
    assert "<i>child" not in html
    assert html.count("<rect") == 2


def test_a_policy_alone_points_to_its_run(reviewing, measured, store):
    run = store.runs.start_run("evolve", {}).id
    policy = measured(run=run)
    html = reviewing.as_("ada").get(f"/lineage?policy={policy}").text
    assert f'<a href="/runs/{run}">its run</a>' in html


def test_an_unknown_policy_is_refused_in_words(reviewing):
    assert reviewing.as_("ada").get("/lineage?policy=abcdef").status_code == 404
    assert reviewing.as_("ada").get("/lineage?policy=%22x").status_code == 404


def test_boxes_never_cover_each_other(store, proposed):
    root = proposed()
    children = [proposed(parents=(root,)) for _ in range(5)]
    proposed(parents=tuple(children))
    tree = tree_of(store.family(root))
    spots = {(box.x, box.y) for box in tree.boxes}
    assert len(spots) == 7
    for x, y in spots:
        near = [(a, b) for a, b in spots if abs(a - x) < WIDTH and abs(b - y) < HEIGHT]
        assert near == [(x, y)]
        assert x + WIDTH <= tree.width
        assert y + HEIGHT <= tree.height
    assert len(tree.main) == 6
    assert len(tree.others) == 4
    assert all(re.fullmatch(r"M[\d.]+ [\d.]+C[-\d. ]+", line) for line in tree.main)
