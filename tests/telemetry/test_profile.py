"""Shipped profiles are small, sourced and sound; anything else is refused."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from telemetry.errors import FormatError, ProfileError
from telemetry.fit import fit_file
from telemetry.profile import (
    CapacityProfile,
    TrafficProfile,
    dump_profile,
    load_profile,
    parse_profile,
    profile_names,
)


@pytest.mark.parametrize("name", profile_names())
def test_a_shipped_profile_is_small_and_names_source_and_licence(name):
    profile = load_profile(name)
    entry = resources.files("telemetry") / "profiles" / f"{name}.json"
    assert len(entry.read_bytes()) < 30_000
    assert profile.name == name
    assert profile.source.startswith("https://")
    assert profile.licence


@pytest.mark.parametrize("name", profile_names())
def test_a_profile_comes_back_from_its_own_text(name):
    profile = load_profile(name)
    assert parse_profile(dump_profile(profile)) == profile


def test_both_types_ship():
    assert len(profile_names("capacity")) >= 3
    for type_name, kind in (("capacity", CapacityProfile), ("traffic", TrafficProfile)):
        assert all(isinstance(load_profile(name), kind) for name in profile_names(type_name))


def test_a_path_is_read_and_a_wrong_name_lists_the_right_ones(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(dump_profile(load_profile("lmsys_arena")))
    assert load_profile(path).name == "lmsys_arena"
    with pytest.raises(ProfileError, match="lmsys_arena"):
        load_profile("nonsense")


@pytest.mark.parametrize("change", [
    {"rates_rps": [-1.0]}, {"cvs": []}, {"tenants": 0}, {"schema": 99}, {"segments": []},
    {"type": "capacity"}, {"span_s": "long"}])
def test_a_profile_out_of_range_is_refused(change):
    stored = json.loads(dump_profile(load_profile("lmsys_arena"))) | change
    with pytest.raises(ProfileError, match=r"fit it again|evolver trace fit"):
        parse_profile(json.dumps(stored))


def test_what_is_no_json_is_refused():
    with pytest.raises(ProfileError, match="evolver trace fit"):
        parse_profile("{" * 50)


def test_a_file_is_fitted_by_what_it_holds(write):
    requests = "arrived_at,num_prefill_tokens,num_decode_tokens\n" + "".join(
        f"{at},10,3\n" for at in range(50))
    assert fit_file(write("v.csv", requests), name="mine").name == "mine"
    assert isinstance(fit_file(write("b.csv", "0,add,a\n9000,remove,a\n")), CapacityProfile)
    with pytest.raises(FormatError, match="no request format"):
        fit_file(write("x.csv", "a,b\n1,2\n"))
    with pytest.raises(FormatError, match="--polarity"):
        fit_file(write("x.json", '{"metadata": {"gap_seconds": 60}, "data": [1, 0]}'))


def test_a_fitted_profile_carries_the_published_numbers(reference, manifest):
    entry = manifest["azure2023_conv"]
    profile = fit_file(reference / entry["file"], name="azure2023_conv")
    assert profile.cv_iat == pytest.approx(entry["stats"]["cv_iat"], rel=0.01)
    assert dump_profile(profile) == dump_profile(load_profile("azure2023_conv"))
