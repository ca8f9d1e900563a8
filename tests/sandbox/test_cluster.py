import pytest

from sandbox.cluster import ClusterError, cluster_names, load_cluster, parse_cluster
from sandbox.hardware import build_hardware

GOOD = 'model = "Llama-3.1-8B"\n[[pool]]\ngpu = "H100"\ncount = 2\n'


@pytest.mark.parametrize("name", cluster_names())
def test_every_shipped_cluster_has_shapes(name):
    cluster = load_cluster(name)
    assert cluster.name == name
    assert len(build_hardware(cluster).shapes) > 0


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (GOOD.replace("2", "0"), "a count of 0"),
        (GOOD.replace("2", "-1"), "pool.0.count"),
        (GOOD + "colour = 1\n", "pool.0.colour"),
        (GOOD + "[engine]\nmax_num_seqs = 5000\n", "engine.max_num_seqs"),
        (GOOD + "[slo]\nttft_s = -1\n", "slo.ttft_s"),
        (GOOD + "[tick]\nmonitoring_s = nan\n", "tick.monitoring_s"),
        (GOOD + "[[replica]]\npool = 3\ntp = 1\n", "replica names pool 3"),
        ('[[pool]]\ngpu = "H100"\ncount = 2\n', "model"),
        ("model = \n", "not TOML"),
    ],
)
def test_a_wrong_entry_is_named(text, named):
    with pytest.raises(ClusterError, match=named.replace(".", r"\.")):
        parse_cluster(text)


def test_an_unknown_cluster_lists_those_that_ship():
    with pytest.raises(ClusterError, match="h100-8b"):
        load_cluster("nowhere")


def test_a_file_is_read(tmp_path):
    (tmp_path / "mine.toml").write_text(GOOD)
    told = load_cluster(str(tmp_path / "mine.toml")).describe()
    assert told == "cluster: Llama-3.1-8B on 2 x H100"


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"\x1f\x8b\x08", "not UTF-8"), (b"a = " + b"[" * 9999, "nested too deep")],
)
def test_a_file_that_is_no_toml_text_is_refused(tmp_path, content, told):
    (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(ClusterError, match=told):
        load_cluster(str(tmp_path / "mine.toml"))
