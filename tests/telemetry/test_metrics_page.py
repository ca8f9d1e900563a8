"""The one reader of Prometheus text: it reads what the reference reads, and knows its bounds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.metrics_page import MOST_LINE_CHARS, MOST_SAMPLES, labels_of, samples

NAMES = ("vllm:a", "vllm:a_total", "vllm:a_bucket")
VALUES = st.sampled_from(["0", "1.5", "1e-3", "+Inf", "-Inf", "NaN", "9007199254740993", "-4"])
LABELS = st.dictionaries(
    st.sampled_from(["le", "model_name", "engine"]),
    st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs", "Cc", "Zl", "Zp"])),
)


def escaped(text):
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def line(name, labels, value):
    pairs = ",".join(f'{key}="{escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{pairs}}} {value}" if pairs else f"{name} {value}"


@settings(deadline=None)  # the first example imports the reference
@given(st.lists(st.tuples(st.sampled_from(NAMES), LABELS, VALUES), max_size=8))
def test_it_reads_what_the_reference_parser_reads(rows):
    parser = pytest.importorskip("prometheus_client.parser")
    page = "\n".join(line(*row) for row in rows) + "\n"
    wanted = [one for family in parser.text_string_to_metric_families(page)
              for one in family.samples]  # fmt: skip
    found = list(samples(page, NAMES, ("vllm:",)))
    assert [(one.name, labels_of(one.labels)) for one in found] == [
        (one.name, dict(one.labels)) for one in wanted
    ]
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.value == float(theirs.value) or math.isnan(ours.value)
        assert math.isnan(ours.value) == math.isnan(theirs.value)


@pytest.mark.parametrize(
    "text", ["vllm:a", "vllm:a{", 'vllm:a{x="} 1', "vllm:a 1_0", "vllm:a 1 2 3", "vllm:a{} x"]
)
def test_a_line_that_does_not_parse_costs_itself_alone(text):
    found = list(samples(f"{text}\nvllm:a 2\n", NAMES, ("vllm:",)))
    assert [one.value for one in found][-1] == 2.0
    assert all(math.isnan(one.value) for one in found[:-1])


def test_a_page_is_bounded_in_samples_and_lines():
    flood = "vllm:a 1\n" * (MOST_SAMPLES + 5)
    assert len(list(samples(flood, NAMES, ("vllm:",)))) == MOST_SAMPLES
    long = f'vllm:a{{x="{"y" * MOST_LINE_CHARS}"}} 1'
    (only,) = samples(long, NAMES, ("vllm:",))
    assert math.isnan(only.value)


@given(st.text(max_size=200))
def test_any_text_is_survived(text):
    list(samples("vllm:a" + text, NAMES, ("vllm:",)))
