"""The book of scrapes: missing, stale, restarted, thinned out."""

from __future__ import annotations

import math

import pytest

from telemetry.engine_histograms import FAMILIES
from telemetry.errors import ReadError
from telemetry.scrape import ScrapeBook, read_scrape


def page(tokens, running=1, more=""):
    return (
        f"vllm:num_requests_running {running}\nvllm:generation_tokens_total {tokens}\n"
        f"vllm:kv_cache_usage_perc 0.5\n{more}"
    )


def histograms(n):
    rows = []
    for names in FAMILIES.values():
        for bound, share in (("1", 0.5), ("2", 0.9), ("+Inf", 1.0)):
            rows.append(f'{names[0]}_bucket{{le="{bound}"}} {int(n * share)}')
        rows += [f"{names[0]}_sum {n * 1.2}", f"{names[0]}_count {n}"]
    return "\n".join(rows) + "\n"


def book_of(*pages, step_s=10.0, **options):
    book = ScrapeBook(**options)
    for k, text in enumerate(pages):
        book.answered("e", read_scrape(k * step_s, text))
    return book


def test_growth_bridges_a_restart():
    book = book_of(page(100), page(150), page(20), page(50))
    assert book.grown("e", 0.0, 30.0)["generation_tokens"] == 50 + 20 + 30
    assert book.grown("e", 0.0, 30.0)["covered_s"] == 30.0
    assert book.restarts("e") == 1
    assert "preemptions" not in book.grown("e", 0.0, 30.0)


def test_a_restart_shows_in_the_start_time_even_where_counters_have_caught_up():
    started = "process_start_time_seconds {}\n".format
    book = book_of(page(10, more=started(5)), page(90, more=started(500)))
    assert book.restarts("e") == 1
    assert book.grown("e", 0.0, 10.0)["generation_tokens"] == 90


def test_a_silent_engine_says_nothing_and_not_zero():
    book = book_of(page(1, running=3), stale_s=30.0)
    assert book.latest("e", 20.0).running == 3
    book.failed("e")
    assert book.failures("e") == 1
    assert book.age_s("e", 40.0) == 40.0
    assert book.latest("e", 40.0).running == -1
    assert math.isnan(book.fleet(40.0).kv_usage)
    assert book.fleet(40.0).running == -1


def test_a_fleet_is_the_sum_of_those_that_answer():
    book = book_of(page(1, running=3))
    book.answered("f", read_scrape(0.0, page(1, running=4)))
    book.answered("g", read_scrape(0.0, "nothing 1\n"))
    fleet = book.fleet(5.0)
    assert (fleet.running, fleet.kv_usage, fleet.waiting) == (7, 0.5, -1)


def test_old_scrapes_are_thinned_out_and_the_first_stays():
    book = book_of(*(page(n) for n in range(500)), most_scrapes=16)
    grown = book.grown("e", 0.0, 1e9)
    assert grown["generation_tokens"] == 499
    assert grown["covered_s"] == 4990.0


def test_an_answer_from_the_past_changes_nothing():
    book = book_of(page(10), page(20))
    book.answered("e", read_scrape(5.0, page(1)))
    assert book.restarts("e") == 0
    assert book.latest("e", 10.0).generation_tokens == 20


def test_histograms_of_engines_and_restarts_are_added_up():
    book = book_of(histograms(100), histograms(140), histograms(10))
    book.answered("f", read_scrape(0.0, histograms(0)))
    book.answered("f", read_scrape(10.0, histograms(50)))
    found, covered_s = book.histograms(0.0, 100.0)
    assert found.requests == 40 + 10 + 50
    assert covered_s == 30.0
    with pytest.raises(ReadError, match="scraped for longer"):
        book.histograms(0.0, 5.0)


def test_broken_histograms_leave_the_signals():
    scrape = read_scrape(0.0, page(5) + 'vllm:e2e_request_latency_seconds_bucket{le="1"} 3\n')
    assert scrape.signals.generation_tokens == 5
    assert "add up" in scrape.complaint


def test_a_clock_that_is_set_back_hides_no_engine():
    book = book_of(page(10, running=9), page(20, running=9), step_s=3600.0)
    book.answered("e", read_scrape(100.0, page(30, running=1)))
    assert book.latest("e", 101.0).running == 1
    assert book.grown("e", 0.0, 1e9)["generation_tokens"] == 20
