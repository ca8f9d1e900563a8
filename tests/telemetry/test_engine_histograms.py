"""vLLM's histograms: sums over labels, differences of scrapes, and what is refused."""

import pytest

from telemetry.engine_histograms import FAMILIES, read_histograms
from telemetry.errors import ReadError, RowError


def family(name, scale=1.0, label="0", times=1):
    edges = ((1, 2), (2, 6), (4, 9))
    rows = [("bucket", f',le="{bound * scale}"', n * times) for bound, n in edges]
    rows += [("bucket", ',le="+Inf"', 10 * times), ("sum", "", 21.0 * scale * times)]
    rows += [("count", "", 10 * times)]
    return [f'{name}_{kind}{{engine="{label}"{le}}} {value}' for kind, le, value in rows]


def text(**options):
    lines = ["# HELP vllm:x nothing", "python_gc 1", "vllm:num_requests_running 3"]
    for names in FAMILIES.values():
        lines += family(names[-1], **options)
    return lines


def written(tmp_path, lines, name="metrics.txt"):
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path / name


def test_labels_are_added_up(tmp_path):
    found = read_histograms(written(tmp_path, text() + text(label="1")))
    assert found.requests == 20
    assert found.ttft_s.mean == pytest.approx(2.1)
    assert found.per_token


def test_a_quantile_lies_within_its_bucket(tmp_path):
    found = read_histograms(written(tmp_path, text())).e2e_s
    assert found.quantile(0.4) == pytest.approx(1.5)
    assert found.quantile(0.99) == 4.0


def test_two_scrapes_give_what_lay_between(tmp_path):
    after, before = (written(tmp_path, text(times=n), f"{n}.txt") for n in (3, 1))
    between = read_histograms(after).since(read_histograms(before))
    assert between.requests == 20
    with pytest.raises(ReadError, match="restarted"):
        read_histograms(before).since(read_histograms(after))


@pytest.mark.parametrize(
    "line",
    [
        "vllm:e2e_request_latency_seconds_bucket{} 3",
        'vllm:e2e_request_latency_seconds_bucket{le="x"} 3',
        'vllm:e2e_request_latency_seconds_bucket{le="1"} -3',
        'vllm:e2e_request_latency_seconds_bucket{le="1"} NaN',
        'vllm:e2e_request_latency_seconds_bucket{le="1" 3 4 5',
        "vllm:e2e_request_latency_seconds_sum Infinity",
    ],
)
def test_a_malformed_sample_is_refused_with_its_line(tmp_path, line):
    lines = text()
    with pytest.raises(RowError, match=f"line {len(lines) + 1}"):
        read_histograms(written(tmp_path, [*lines, line]))


def test_counts_that_contradict_are_refused(tmp_path):
    falling = [row.replace('le="4.0"} 9', 'le="4.0"} 3') for row in text()]
    with pytest.raises(ReadError, match="add up"):
        read_histograms(written(tmp_path, falling))
    with pytest.raises(ReadError, match="has no vllm:"):
        read_histograms(written(tmp_path, ["python_gc 1"]))
