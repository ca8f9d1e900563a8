"""What programs around a policy host are told: bounds of the watchdog by name."""

import pytest

from evolver.cli.failures import Misused
from evolver.cli.host_options import HostOptions
from serving_adapter.errors import AdapterError
from serving_adapter.safety.limits import LiveLimits


def bounds_of(*texts):
    return HostOptions(bound=list(texts)).settings((), 0).bounds


def test_what_is_typed_replaces_what_is_usual():
    assert bounds_of() == LiveLimits()
    assert bounds_of("slo_ttft_s=1.5", "slow_decisions=50") == LiveLimits(
        slo_ttft_s=1.5, slow_decisions=50
    )


@pytest.mark.parametrize("text", ["slo_ttft=1", "slo_ttft_s", "slo_ttft_s=fast", "=1", "slots=1"])
def test_what_is_no_bound_is_refused(text):
    with pytest.raises(Misused, match="NAME=NUMBER"):
        bounds_of(text)


@pytest.mark.parametrize("text", ["alpha=2", "poll_s=nan", "slow_decisions=-1"])
def test_a_bound_out_of_range_is_refused(text):
    with pytest.raises(AdapterError):
        bounds_of(text)
