"""`evolver replay`: results at loads, everything that was scaled, and what it refuses."""

import pytest

METRICS = {"ttft_s", "tpot_s", "e2e_s", "goodput_rps", "slo_attainment", "smooth_goodput",
           "scheduling_s", "reconfiguration_s", "serving_s", "total_s", "gpu_hours", "price_usd",
           "reconfigurations"}


def test_the_three_usual_loads_are_shown(evolver, trace_file):
    done = evolver("replay", trace_file, "-p", "round_robin", "-p", "least_loaded")
    assert done.code == 0
    assert all(f"load {load}" in done.out for load in ("0.5", "0.8", "0.95"))
    assert "cluster edge-8b" in done.err
    assert "arrivals scaled x" in done.err


def test_json_has_the_agreed_shape(evolver, trace_file):
    done = evolver("replay", trace_file, "-p", "round_robin", "--load", 0.5, "-o", "json").json
    (result,) = done["results"]
    assert {"schema", "trace", "cluster", "results", "load"} <= done.keys()
    assert result["metrics"].keys() >= METRICS
    assert set(result["metrics"]["ttft_s"]) == {"mean", "p50", "p95", "p99"}
    assert (result["policy"], result["load"], result["requests"]) == ("round_robin", 0.5, 200)
    assert done["load"]["0.5"]["factor"] > 0


def test_the_recorded_rate_is_left_alone(evolver, trace_file):
    done = evolver("replay", trace_file, "-p", "default", "--rate-as-recorded", "-o", "json").json
    assert done["load"]["recorded"]["factor"] == 1.0
    assert done["load"]["recorded"]["span_s"] == done["trace"]["span_s"]


def test_equal_runs_give_equal_numbers_under_both_engines(evolver, trace_file):
    def metrics(engine):
        done = evolver("replay", trace_file, "-p", "power_of_two", "--load", 0.8, "-o", "json",
                       "--engine", engine, "--until", 15)
        return done.json["results"][0]["metrics"]

    assert metrics("compiled") == metrics("interpreted")


def test_a_file_is_a_policy(evolver, trace_file, policy_file):
    done = evolver("replay", trace_file, "-p", policy_file, "--load", 0.5, "-o", "json")
    assert done.json["results"][0]["policy"] == "mine"


def test_a_short_trace_is_continued_and_marked(evolver, trace_file):
    done = evolver("replay", trace_file, "-p", "default", "--load", 0.5, "--span-s", 300, "-o",
                   "json")
    laid = done.json["load"]["0.5"]
    assert laid["generated"] > 0
    assert laid["span_s"] == pytest.approx(300, rel=0.05)
    assert "are generated" in done.err


def test_capacity_is_paired_and_said(evolver, trace_file, spot_file):
    done = evolver("replay", trace_file, "-p", "static_plan", "--load", 0.5, "--capacity",
                   spot_file, "--polarity", "available", "--node", "L40S:1", "-o", "json")
    assert done.json["capacity"]["gpu"] == "L40S"
    assert "3 of the 3 nodes of spot are 1 x L40S each" in done.err


def test_capacity_that_does_not_change_meanwhile_is_said(evolver, trace_file, spot_file):
    done = evolver("replay", trace_file, "-p", "default", "--load", 0.5, "--capacity", spot_file,
                   "--polarity", "available")
    assert "capacity does not change in these" in done.err


def test_a_page_holds_the_tables(evolver, trace_file, tmp_path):
    page = tmp_path / "r.html"
    evolver("replay", trace_file, "-p", "round_robin", "--load", 0.5, "-o", "html", "--out", page)
    assert "round_robin" in page.read_text()


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("--load", "0"), "A load of 0 means nothing"),
    (("--load", "-1"), "A load of -1 means nothing"),
    (("--load", "0.5", "--rate-as-recorded"), "not both"),
    (("--cluster", "moon"), "There is no cluster 'moon'"),
    (("-p", "round_robbin"), "did you mean round_robin"),
    (("-p", "nothing.py"), "There is no policy 'nothing.py'; check the path"),
    (("-p", "abcdef0123"), "nothing is stored yet"),
    (("--from", "9000"), "No request lies from 9000 s"),
    (("--span-s", "0"), "A span of 0 s is nothing"),
    (("--node", "L40S:1"), "add --capacity FILE"),
    (("--format", "vcr"), "There is no trace format 'vcr'"),
])
def test_what_cannot_be_meant_is_usage(evolver, trace_file, arguments, sentence):
    done = evolver("replay", trace_file, "-p", "default", *arguments)
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err
    assert "next:" in done.err


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("--capacity-speed", "5"), "give --capacity-speed from 1 to 4"),
    (("--capacity-from", "-1"), "Capacity cannot begin before 0 s"),
    (("--capacity-from", "99999"), "A capacity slice from 99999 s"),
    (("--node", "H200:1"), "A node cannot be 'H200:1' here"),
    (("--node", "GTX:1"), "GTX"),
    (("--node", "L40S:99"), "A node cannot be 'L40S:99' here"),
])
def test_capacity_that_does_not_fit_is_refused(evolver, trace_file, spot_file, arguments, sentence):
    done = evolver("replay", trace_file, "-p", "default", "--capacity", spot_file, "--polarity",
                   "available", *arguments)
    assert done.code == 2
    assert sentence in done.err


def test_capacity_without_a_polarity_is_refused(evolver, trace_file, spot_file):
    done = evolver("replay", trace_file, "-p", "default", "--capacity", spot_file)
    assert done.code == 2
    assert "available or preempted" in done.err


def test_a_cluster_file_with_an_unknown_gpu_names_it(evolver, trace_file, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('name = "mine"\nmodel = "Llama-3.1-8B"\n[[pool]]\ngpu = "GTX"\ncount = 1\n')
    done = evolver("replay", trace_file, "-p", "default", "--cluster", path)
    assert done.code == 2
    assert "GTX" in done.err


def test_a_refused_policy_says_why(evolver, trace_file, refused_file):
    done = evolver("replay", trace_file, "-p", refused_file)
    assert done.code == 1
    assert "Imports are not allowed" in done.err


def test_a_policy_is_needed(evolver, trace_file):
    done = evolver("replay", trace_file)
    assert done.code == 2
    assert "--policy" in done.err


def test_a_negative_seed_is_misuse(evolver, trace_file):
    done = evolver("replay", trace_file, "-p", "default", "--seed", -1)
    assert done.code == 2
    assert "--seed" in done.err


def test_a_file_that_cannot_be_written_is_said_before_the_work(evolver):
    ended = evolver("evolve", "none.csv", "-o", "json", "--out", "/no/such/x.json")
    assert ended.code == 2
    assert "There is no folder /no/such" in ended.err
