"""`evolver experiment online`: pairs in, a table, a document and a picture out."""

import json

from evolver.online import arms, experiment
from evolver.online.statics import planners

PAIRS = """
[[pair]]
name = "tiny"
cluster = { name = "tiny", model = "Llama-3.1-8B", pool = [{ gpu = "A100", count = 2, spot = true }, { gpu = "H100", count = 1 }] }
cluster_why = "small enough for a test"
monitoring_s = 10.0
past_s = 20.0
think_every_s = 30.0
piece_s = 10.0
requests = { profile = "azure2023_conv", span_s = 60.0, why = "drawn for a test" }
capacity = { profile = "spot_4node", speed = 4.0, node = "A100:1", why = "drawn for a test" }
regime = [{ name = "all", until_s = 60.0 }]
"""  # noqa: E501
SMALL = ("--mode", "backlog", "--seeds", 1, "--workers", 1, "--evaluations", 1, "--tries", 1)


def here(plan, jobs, workers, on_done):
    """Jobs in this process, through the same bytes: a locked-down one rehearses for seconds."""
    messages = [{"pair": job.pair, "mode": job.mode, "seed": job.seed} for job in jobs]
    return [json.loads(experiment.arms_job(plan, message, b"", {})) for message in messages]


def test_a_pair_comes_out_as_numbers_and_a_picture(evolver, tmp_path, monkeypatch):
    few = planners()[:2]
    monkeypatch.setattr(experiment, "run_all", here)
    monkeypatch.setattr(arms, "planners", lambda: few)
    pairs, picture = tmp_path / "pairs.toml", tmp_path / "online.svg"
    pairs.write_text(PAIRS)
    done = evolver("experiment", "online", "--pairs", pairs, *SMALL, "--plot", picture,
                   "-o", "json", "-q")  # fmt: skip
    assert (done.code, done.err) == (0, "")
    (result,) = done.json["results"]
    assert result["arms"]["evolving"]["total_s"] > 0.0
    assert done.json["savings"]["backlog"]["tiny"][0]["verdict"] == "no gain shown"
    assert "tiny" in picture.read_text()


def test_what_is_not_there_is_said_with_what_there_is(evolver):
    done = evolver("experiment", "online", "--pair", "nowhere")
    assert done.code == 2
    assert "give --pair one of conv-bamboo" in done.err
    done = evolver("experiment", "online", "--pair", "conv-bamboo")
    assert done.code != 0
    assert "--traces" in done.err
