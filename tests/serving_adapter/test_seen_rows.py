"""What a decision saw comes back bit for bit, whatever happened since, and from a file as well."""

import random

import pytest

from serving_adapter.decision import DecisionInput
from serving_adapter.decision_frames import packed, unpacked
from serving_adapter.facts import RequestFacts
from serving_adapter.instances import InstanceFacts, InstanceTable
from telemetry.engine_signals import EngineSignals

KNOWN = InstanceFacts(step_base_s=0.006, step_per_seq_s=1e-5, kv_capacity_tokens=1000)


def decisions(engines: int, *, counts_flights: bool = True, seed: int = 1):
    """Rows as they were offered, and what was kept of them, while everything goes on changing."""
    draw, table = random.Random(seed), InstanceTable(counts_flights=counts_flights)
    numbers = [table.add(KNOWN) for _ in range(engines)]
    flights, found = [], []
    for step in range(300):
        now_s, number = 0.1 * step, draw.choice(numbers)
        facts = RequestFacts(
            arrived_s=now_s, prompt_tokens=draw.randrange(1, 900), predicted_output_tokens=9.5,
            tenant=draw.choice((0, 0, 0, step % 11)), last_instance=draw.choice(numbers),
            cached_tokens=draw.choice((0, 64)), online=draw.random() < 0.9,
        )  # fmt: skip
        exclude = frozenset(draw.sample(numbers, draw.choice((0, 0, 0, 1))))
        offer = table.offer(facts, now_s, exclude)
        found.append((offer.rows.tobytes(), table.seen(offer)))
        if counts_flights:
            flights.append(table.dispatch(number, facts, now_s))
            table.tokens(draw.choice(flights), 1, now_s + 0.01)
            if len(flights) > 3 * engines:
                table.finish(flights.pop(draw.randrange(len(flights))))
        match step % 20:
            case 3:
                table.scraped(number, EngineSignals(running=2, kv_usage=0.5), asked_s=now_s)
            case 7:
                table.set_draining(number, step % 40 > 20)
            case 11:
                table.set_open(number, step % 40 > 20)
            case 13:
                table.set_use(number, 0, step, 10_000, 0.5)
            case 17 if step > 200:
                table.remove(numbers.pop(numbers.index(number)))
                numbers.append(table.add(KNOWN))
    return found


def given(seen, number: int) -> DecisionInput:
    return DecisionInput(number=number, sequence=3, digest="a" * 64, request=bytes(248), rows=seen,
                         memory=bytes(512), rotation=0, fuel=60_000, choice=0, fault="",
                         call_s=1e-5)  # fmt: skip


@pytest.mark.parametrize("engines", [2, 5, 16, 40])
def test_what_was_offered_can_be_put_together_again(engines):
    found = decisions(engines)
    assert len({rows for rows, _ in found}) > 100
    for offered, seen in found:
        assert seen.whole() == offered


def test_a_door_that_counts_no_flights_is_the_same():
    for offered, seen in decisions(12, counts_flights=False):
        assert seen.whole() == offered


def test_rows_that_did_not_change_are_shared_and_written_once():
    found = decisions(200)
    logs = {id(seen.log): seen.log for _, seen in found}
    assert 1 < len(logs) < 10
    assert sum(seen.own_bytes for _, seen in found) < sum(len(rows) for rows, _ in found) // 20
    raw = packed([given(seen, number) for number, (_, seen) in enumerate(found)])
    assert len(raw) < sum(len(offered) for offered, _ in found) // 4
    assert [one.instances for one in unpacked(raw)] == [offered for offered, _ in found]


def test_a_frame_that_was_tampered_with_ends_where_it_does_not_fit():
    raw = packed([given(seen, number) for number, (_, seen) in enumerate(decisions(12)[:8])])
    draw = random.Random(3)
    for _ in range(300):
        bad = bytearray(raw)
        for _ in range(3):
            bad[draw.randrange(len(bad))] ^= 1 << draw.randrange(8)
        for one in unpacked(bytes(bad[: draw.randrange(len(bad))])):
            assert len(one.instances) % 400 == 0
