"""Prefixes brought in early: what comes back, what it costs, and what is offered."""

import pytest
from test_prefix_cache import SIZE, cached, run

from sandbox.contract import MAX_ENTRIES
from sandbox.engine import load_policy
from sandbox.kernel.state import PS_PER_S
from sandbox.verifier import verify

ALL = "    for entry in entries:\n        bring_in(entry)\n"
ONE, TWO = range(100), range(100, 300)


def brings(body):
    text = f'"""Brings prefixes in."""\n\n\ndef prewarm(instance, entries, memory):\n{body}'
    return load_policy(verify(text), engine="interpreted")


def test_an_evicted_prefix_comes_back_on_the_tick():
    again = [ONE, TWO, ONE]  # the second takes all 201 blocks
    plain, early = run(again, kv_blocks=201), run(again, kv_blocks=201, policy=brings(ALL))
    assert (cached(plain), cached(early)) == (0, 100 * SIZE)
    assert early.totals["prewarmed_tokens"][0] == 100 * SIZE
    took = early.requests["first"] - early.requests["entered"]
    before = plain.requests["first"] - plain.requests["entered"]
    assert took[2] < 0.8 * before[2]


def test_bringing_in_takes_the_engine_as_long_as_computing():
    arrivals = [0.0, 10.0, 11.0001]  # the last comes right after the tick
    plain, early = (
        run([ONE, TWO, range(900, 910)], arrivals=arrivals, kv_blocks=201, policy=brings(body))
        for body in ("    return\n", ALL)
    )
    late_s = (early.requests["first"][2] - plain.requests["first"][2]) / PS_PER_S
    load_s = 100 * SIZE / early.shapes["prefill_rate"][early.instances["shape"][0]]
    waited_s = early.requests["queued_at"][2] / PS_PER_S - 11.0
    assert late_s == pytest.approx(load_s - waited_s, rel=0.01)


def test_what_goes_on_from_something_that_is_gone_is_not_offered():
    both = [[*range(50), *range(50, 100)], [*range(50), *range(800, 810)], TWO, ONE]
    first_only = "    for entry in entries:\n        if entry.depth_tokens == 0:\n"
    none = brings(first_only.replace("==", ">") + "            bring_in(entry)\n")
    assert run(both, kv_blocks=201, policy=none).totals["prewarmed_tokens"][0] == 0
    sim = run(both, kv_blocks=201, policy=brings(ALL))
    # the shared beginning at one tick, both of its continuations at the next
    assert sim.totals["prewarmed_tokens"][0] == 110 * SIZE
    assert cached(sim) == (50 + 100) * SIZE


def test_what_bringing_in_pushed_out_of_memory_is_not_taken_for_something_else():
    # one more fits; the second that comes evicts one, whose place was that of the last offered
    many = [[k] for k in range(MAX_ENTRIES + 10)]
    arrivals = [*(0.03 * k for k in range(len(many))), 20.0]
    body = "    if len(entries) == MAX_ENTRIES and memory[0] == 0.0:\n        memory[0] = 1.0\n"
    body += "".join(f"        bring_in(entries[{k}])\n" for k in (0, 1, MAX_ENTRIES - 1))
    sim = run([*many, [999]], arrivals=arrivals, kv_blocks=3, policy=brings(body))
    assert sim.engine_memory[0, 0] == 1.0
    assert sim.totals["prewarmed_tokens"][0] == 2 * SIZE


def test_an_entry_says_when_it_was_used_and_may_be_again():
    # three uses ten seconds apart: the next one is due in as long as has not passed yet
    said = ("entry.in_s", "entry.hits", "entry.probability", "entry.age_s")
    body = "    for entry in entries:\n"
    body += "".join(f"        memory[{k}] = {what}\n" for k, what in enumerate(said))
    sim = run([ONE, ONE, ONE, TWO, range(900, 910)], kv_blocks=201, policy=brings(body))
    in_s, hits, probability, age_s = sim.engine_memory[0, :4]
    assert hits == 2
    assert in_s == pytest.approx(max(10.0 - age_s, 0.0), abs=0.3)
    assert probability == pytest.approx(0.9975, abs=0.002)
