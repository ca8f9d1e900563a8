"""The decision log never makes an engine wait, or fail."""

from pathlib import Path

import pytest

from serving_adapter.decision import Author
from serving_adapter.engine_hooks.decision_file import DecisionFile
from serving_adapter.errors import AdapterError


def test_a_full_disk_costs_lines_and_nothing_else():
    decisions = DecisionFile(Path("/dev/full"), "engine-0")
    for number in range(3):
        decisions.add(number, "a" * 64, Author.ACTIVE, "priority", 4, "")
    decisions.close()
    assert decisions.dropped == 3


def test_without_a_file_nothing_is_kept_and_a_wrong_one_is_refused(tmp_path):
    nowhere = DecisionFile(None, "engine-0")
    nowhere.add(1, "a" * 64, Author.ACTIVE, "tune", 1, "")
    nowhere.close()
    assert nowhere.dropped == 0
    with pytest.raises(AdapterError, match="EVOLVER_DECISION_LOG"):
        DecisionFile(tmp_path / "no" / "folder", "engine-0")
