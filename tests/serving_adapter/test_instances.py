"""The instance table under events and scrapes."""

import math

import numpy as np

from serving_adapter.facts import RequestFacts
from serving_adapter.instances import InstanceFacts, InstanceTable
from telemetry.engine_signals import EngineSignals

FACTS = RequestFacts(arrived_s=0.0, prompt_tokens=100, predicted_output_tokens=50.0, tenant=3)


def figures(table: InstanceTable, number: int) -> tuple[int, ...]:
    row = table.row(number)
    names = ("queued_requests", "queued_prompt_tokens", "running_requests", "context_tokens")
    return tuple(int(row[name]) for name in names)


def test_a_request_is_queued_then_running_then_gone():
    table = InstanceTable()
    number = table.add()
    flight = table.dispatch(number, FACTS, 1.0)
    queued = figures(table, number)
    table.tokens(flight, 1, 1.5)
    table.tokens(flight, 2, 1.7)
    running = figures(table, number)
    table.finish(flight)
    assert (queued, running) == ((1, 100, 0, 0), (0, 0, 1, 103))
    assert figures(table, number) == (0, 0, 0, 0)


def test_a_scrape_replaces_counts_and_keeps_dispatches_made_since():
    table = InstanceTable()
    number = table.add()
    table.dispatch(number, FACTS, 1.0)
    table.dispatch(number, FACTS, 2.5)
    table.scraped(number, EngineSignals(running=7, waiting=4, kv_usage=0.5), asked_s=2.0)
    assert figures(table, number)[::2] == (5, 7)
    assert table.row(number)["kv_used_tokens"] == -1


def test_signal_age_counts_from_the_asking():
    table = InstanceTable()
    number = table.add(InstanceFacts(kv_capacity_tokens=1000))
    assert math.isnan(table.offered(FACTS, 3.0, frozenset())["signal_age_s"][0])
    table.scraped(number, EngineSignals(kv_usage=0.25), asked_s=2.0)
    rows = table.offered(FACTS, 3.0, frozenset())
    assert (rows["signal_age_s"][0], rows["kv_used_tokens"][0]) == (1.0, 250)


def test_ids_are_stable_and_never_reused():
    table = InstanceTable()
    first, second = table.add(), table.add()
    flight = table.dispatch(second, FACTS, 0.0)
    table.remove(first)
    table.tokens(flight, 1, 1.0)
    assert table.add() == 2
    assert table.offered(FACTS, 0.0, frozenset())["id"].tolist() == [1, 2]
    assert figures(table, second) == (0, 0, 1, 101)


def test_closed_draining_and_excluded_engines_are_not_offered():
    table = InstanceTable()
    numbers = [table.add() for _ in range(4)]
    table.set_open(numbers[0], False)
    table.set_draining(numbers[1], True)
    rows = table.offered(FACTS, 0.0, frozenset({numbers[2]}))
    assert rows["id"].tolist() == [numbers[3]]
    assert rows.flags.c_contiguous


def test_what_nobody_tells_is_missing_and_tenants_are_counted():
    table = InstanceTable()
    table.dispatch(table.add(), FACTS, 0.0)
    (row,) = table.offered(FACTS, 2.0, frozenset())
    assert (row["kv_capacity_tokens"], row["longest_context_tokens"]) == (-1, -1)
    assert np.isnan(row["decode_tokens_per_s"])
    assert (row["tenant_requests"], row["tenant_count"]) == (1, 1)
    assert (row["oldest_wait_s"], row["predicted_remaining_tokens"]) == (2.0, 50.0)


def test_rows_that_were_derived_one_by_one_are_those_derived_together():
    """A table with few changes since the last decision against one that computes everything."""
    facts = InstanceFacts(step_base_s=0.006, step_per_seq_s=1e-5, step_per_context_s=1e-8,
                          kv_capacity_tokens=1000)  # fmt: skip
    tables = [InstanceTable(), InstanceTable()]
    for table in tables:
        for _ in range(12):
            table.add(facts)
        for step in range(60):
            number = step % 5
            asked = RequestFacts(arrived_s=0.0, prompt_tokens=50 + step, tenant=step % 3,
                                 last_instance=number, cached_tokens=step)  # fmt: skip
            flight = table.dispatch(number, asked, float(step))
            table.tokens(flight, 3, step + 0.5)
            table.scraped(number, EngineSignals(kv_usage=0.25), asked_s=float(step))
            if table is tables[0]:
                table.offered(asked, step + 0.6, frozenset())
    one_by_one, together = (table.offered(FACTS, 99.0, frozenset()) for table in tables)
    for name in together.dtype.names or ():
        np.testing.assert_array_equal(one_by_one[name], together[name], err_msg=name)
    assert together["tenant_requests"].sum() == 0
    assert together["decode_tokens_per_s"][0] > 0


def test_rows_keep_every_byte_when_engines_come_and_go():
    """What lies between fields goes to disk with the inputs of decisions: ours, not left over."""
    table = InstanceTable()
    numbers = [table.add() for _ in range(3)]
    offered = table.offered(FACTS, 1.0, frozenset())
    offered.view(np.uint8).reshape(3, -1)[:, _between_fields(offered.dtype)] = 7
    table.add()
    table.remove(numbers[1])
    rows = table.offered(FACTS, 1.0, frozenset())
    between = rows.view(np.uint8).reshape(3, -1)[:, _between_fields(rows.dtype)]
    assert np.unique(between, axis=1).tolist() == [[7], [7], [0]]


def _between_fields(record: np.dtype) -> np.ndarray:
    free = np.ones(record.itemsize, bool)
    for kind, start in record.fields.values():
        free[start : start + kind.itemsize] = False
    return free
