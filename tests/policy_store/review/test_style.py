"""The colours of the pages can be told apart by everybody, in both schemes."""

import re
from importlib.resources import files

import pytest

CSS = files("policy_store.review").joinpath("static/review.css").read_text()
COLOURS = dict(re.findall(r"--([\w-]+): light-dark\((#\w{6}, #\w{6})\)", CSS))
TEXTS = ("ink", "dim", "accent", "good", "bad", "warn", "active", "candidate", "third", "fourth")
PAIRS = [(text, ground) for text in TEXTS for ground in ("paper", "soft")]
PAIRS += [("on-accent", "accent")]
PAIRS += [(kind, f"{kind}-soft") for kind in ("accent", "good", "bad", "warn")]
PAIRS += [("ink", f"{kind}-soft") for kind in ("accent", "good", "bad", "warn")]


def luminance(colour: str) -> float:
    parts = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str, dark: bool) -> float:
    lights = sorted(luminance(COLOURS[name].split(", ")[dark]) for name in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_the_contrast_of_wcag_aa(dark):
    assert {pair: contrast(*pair, dark) for pair in PAIRS if contrast(*pair, dark) < 4.5} == {}


@pytest.mark.parametrize("dark", [False, True])
def test_the_edges_of_fields_can_be_seen(dark):
    assert contrast("edge", "paper", dark) >= 3.0
    assert contrast("edge", "soft", dark) >= 3.0


def test_every_colour_that_is_used_has_a_light_and_a_dark_value():
    used = set(re.findall(r"var\(--([\w-]+)\)", CSS))
    defined = set(re.findall(r"--([\w-]+):", CSS))
    assert used <= defined
    outside_root = CSS.split("\n}\n", 1)[1]
    assert set(re.findall(r"#[0-9a-f]{3,6}\b", outside_root)) <= {"#999"}
