"""What an engine reads off its environment."""

import pytest

from serving_adapter.engine_hooks.settings import settings_of
from serving_adapter.errors import AdapterError


def test_without_a_word_it_is_what_the_gateway_of_this_home_takes(tmp_path, monkeypatch):
    monkeypatch.setenv("EVOLVER_HOME", str(tmp_path))
    settings = settings_of({})
    assert settings.snapshot == tmp_path / "active.json"
    assert settings.trust == tmp_path / "trusted_keys.json"
    assert settings.state == tmp_path / "hosts" / "default"
    assert settings.metrics_port is None
    assert settings_of({"EVOLVER_DEPLOYMENT": "eu"}).snapshot == tmp_path / "active-eu.json"


def test_each_rank_of_a_server_has_its_own_name_log_and_port():
    given = {"EVOLVER_ENGINE_NAME": "gpu-1", "EVOLVER_DECISION_LOG": "/d.jsonl",
             "EVOLVER_METRICS_PORT": "9100"}  # fmt: skip
    first, second = settings_of(given), settings_of(given, 1)
    assert (first.name, first.metrics_port) == ("gpu-1", 9100)
    assert (second.name, second.metrics_port) == ("gpu-1.1", 9101)
    assert first.decision_log != second.decision_log


@pytest.mark.parametrize(
    "given", [{"EVOLVER_ENGINE_MODE": "fast"}, {"EVOLVER_METRICS_PORT": "-1"}]
)
def test_what_makes_no_sense_is_refused_by_its_name(given):
    with pytest.raises(AdapterError, match=next(iter(given))):
        settings_of(given)
