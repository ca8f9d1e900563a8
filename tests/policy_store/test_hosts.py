"""Host reports: the latest of each, and each ejection once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from policy_store.errors import InvalidInput
from policy_store.records import Ejection, HostReport

NOW = datetime(2030, 1, 1, tzinfo=UTC)
STRANGER = "ab" * 32
REPORT = HostReport("gateway-1", "default", 3, STRANGER, NOW)


def test_the_latest_report_stands_even_of_an_unknown_policy(store):
    later = replace(REPORT, sequence=4, digest=None, seen_at=NOW + timedelta(seconds=5))
    store.report_host(REPORT)
    store.report_host(later)
    assert store.hosts() == (later,)


def test_an_ejection_is_audited_once(store):
    ejection = Ejection(STRANGER, 3, "ERROR", "IndexError in route", NOW)
    told = replace(REPORT, ejections=(ejection,))
    store.report_host(told)
    store.report_host(told)
    assert store.hosts() == (told,)
    assert [entry.action for entry in store.audit.entries()] == ["host_ejected"]


@pytest.mark.parametrize(
    "change",
    [{"host": ""}, {"digest": "abc"}, {"ejections": (Ejection("x", 1, "ERROR", "why", NOW),)}],
)
def test_a_report_that_cannot_be_kept_leaves_nothing(store, change):
    with pytest.raises(InvalidInput):
        store.report_host(replace(REPORT, **change))
    assert store.hosts() == ()
