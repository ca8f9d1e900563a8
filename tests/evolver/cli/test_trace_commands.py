"""`evolver trace`: what is said about files, and every way a file can be unusable."""

import json

import pytest

from telemetry import Trace

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


@pytest.fixture
def azure(tmp_path):
    def write(*rows):
        path = tmp_path / "azure.csv"
        path.write_text(AZURE + "".join(f"{row}\n" for row in rows))
        return path

    return write


def test_info_says_what_the_window_is(evolver, trace_file):
    done = evolver("trace", "info", trace_file)
    assert done.code == 0
    assert "200 requests" in done.out
    assert "prompt tokens" in done.out
    assert "▁" in done.out or "█" in done.out


def test_info_as_json_holds_the_window(evolver, trace_file):
    document = evolver("trace", "info", trace_file, "-o", "json").json
    assert (document["schema"], document["kind"]) == (1, "requests")
    assert document["window"]["rows"][0]["requests"] == 200


def test_info_as_html_is_self_contained(evolver, trace_file, tmp_path):
    page = tmp_path / "page.html"
    assert evolver("trace", "info", trace_file, "-o", "html", "--out", page).out == ""
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert "://" not in text
    assert "<svg" in text


def test_info_says_which_kind_a_capacity_file_is(evolver, spot_file):
    done = evolver("trace", "info", spot_file, "--polarity", "available")
    assert done.code == 0
    assert "availability: a node that is up can be had" in done.out


def test_info_puts_capacity_beside_requests(evolver, trace_file, spot_file):
    done = evolver("trace", "info", trace_file, "--capacity", spot_file, "--polarity", "available",
                   "-o", "json")
    assert done.json["window"]["capacity"]["kind"] == "availability"
    assert done.json["capacity"]["name"] == "spot"


def test_an_undeclared_polarity_is_refused(evolver, spot_file):
    done = evolver("trace", "info", spot_file)
    assert done.code == 2
    assert "does not say whether a value means available or preempted" in done.err


def test_an_unknown_format_lists_the_known_ones(evolver, trace_file):
    done = evolver("trace", "info", trace_file, "--format", "vcr")
    assert done.code == 2
    assert "There is no format 'vcr'" in done.err
    assert "azure" in done.err
    assert "skypilot" in done.err


def test_a_file_of_no_format_says_how_to_name_one(evolver, tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    done = evolver("trace", "info", tmp_path / "x.csv")
    assert done.code == 2
    assert "no request or capacity format that is known here" in done.err


def test_a_missing_file_is_one_sentence(evolver):
    done = evolver("trace", "info", "nothing.csv")
    assert (done.code, done.out) == (1, "")
    assert "There is no file nothing.csv; check the path." in done.err


def test_unsorted_rows_are_sorted_and_said(evolver, azure):
    path = azure("2023-11-16 18:00:09.0,10,5", "2023-11-16 18:00:01.0,20,5",
                 "2023-11-16 18:00:04.0,30,5")
    done = evolver("trace", "info", path)
    assert done.code == 0
    assert "sorted" in done.out


def test_a_malformed_row_names_its_line(evolver, azure):
    path = azure("2023-11-16 18:00:01.0,10,5", "2023-11-16 18:00:02.0,x,5")
    done = evolver("trace", "info", path)
    assert done.code == 1
    assert "line 3" in done.err


def test_an_option_is_written_key_value(evolver, trace_file):
    done = evolver("trace", "info", trace_file, "--option", "seed")
    assert done.code == 2
    assert "KEY=VALUE" in done.err


def test_a_format_says_which_options_it_has(evolver, azure):
    path = azure("2023-11-16 18:00:01.0,10,5", "2023-11-16 18:00:02.0,20,5")
    done = evolver("trace", "info", path, "--option", "colour=1")
    assert done.code == 2
    assert "has no option 'colour'" in done.err


def test_fit_and_generate_make_a_trace_of_any_length(evolver, trace_file, tmp_path):
    profile, longer = tmp_path / "p.json", tmp_path / "longer.npz"
    assert evolver("trace", "fit", trace_file, "-o", profile).code == 0
    assert json.loads(profile.read_text())["requests"] == 200
    done = evolver("trace", "generate", profile, "--requests", 500, "--seed", 3, "-o", longer)
    assert done.code == 0
    trace = Trace.load(longer)
    assert len(trace) == 500
    assert trace.meta.generated


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("nobody", "-o", "x.npz"), "There is no profile 'nobody'"),
    (("azure2023_conv", "-o", "x.csv"), "write -o x.npz"),
    (("azure2023_conv", "-o", "x.npz", "--span-s", "0"), "The asked length is 0"),
    (("azure2023_conv", "-o", "x.npz", "--span-s", "9", "--requests", "9"), "not both"),
    (("spot_bamboo_p3", "-o", "x.npz"), "a profile of capacity, not of requests"),
])
def test_generate_refuses_what_makes_no_trace(evolver, arguments, sentence):
    done = evolver("trace", "generate", *arguments)
    assert done.code == 2
    assert sentence in done.err
