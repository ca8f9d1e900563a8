"""`evolver keys client` and what `evolver serve` makes of its options, without serving."""

from ipaddress import ip_network

import pytest

from evolver.cli import serve_options
from evolver.cli.failures import Misused
from evolver.cli.serve_options import UpstreamKind
from serving_adapter.gateway.access import ClientKeys
from serving_adapter.gateway.upstream import Kind, Upstream

URL = "http://127.0.0.1:8001"


def test_a_clients_key_is_shown_once_and_its_hash_kept_for_its_tenant(evolver, tmp_path):
    file = tmp_path / "clients.keys"
    keys = [evolver("keys", "client", name, "--file", file).out.strip() for name in ("ada", "bob")]
    known = ClientKeys(file)
    assert [known.tenant(f"Bearer {key}") for key in keys] == ["ada", "bob"]
    assert not [key for key in keys if key in file.read_text()]
    assert file.stat().st_mode & 0o777 == 0o600
    assert evolver("keys", "client", "no tenant", "--file", file).code != 0


def test_an_upstream_names_its_workers_as_it_knows_them():
    made = serve_options.upstream_of(URL + "/", UpstreamKind.SMG, ["http://127.0.0.1:2/"])
    assert made == Upstream(URL, Kind.SMG, frozenset({"http://127.0.0.1:2"}))
    made = serve_options.upstream_of(URL, UpstreamKind.DYNAMO, ["7587889"])
    assert (made.kind, made.only) == (Kind.DYNAMO, frozenset({"7587889"}))
    assert serve_options.engine_urls(None, made) == ()


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: serve_options.upstream_of(URL, None, None), "--set-header"),
        (lambda: serve_options.upstream_of(URL, UpstreamKind.DYNAMO, [URL]), "instance ids"),
        (lambda: serve_options.upstream_of("gpu-1", UpstreamKind.SMG, None), "address"),
        (lambda: serve_options.engine_urls(None, None), "--upstream"),
        (lambda: serve_options.tls_of(None, "key.pem", None), "--tls-certificate"),
        (
            lambda: serve_options.headers_of(["all"], forward_keys=False, engine_key=None),
            "--trust-proxy",
        ),
    ],
)
def test_half_of_an_option_is_said(call, word):
    with pytest.raises(Misused, match=word):
        call()


def test_what_passes_to_engines(tmp_path):
    file = tmp_path / "engine.key"
    file.write_text("engine-side\n")
    made = serve_options.headers_of(["10.0.0.0/8"], forward_keys=False, engine_key=file)
    assert (made.trusted, made.engine_key) == ((ip_network("10.0.0.0/8"),), "engine-side")
    with pytest.raises(Misused, match="one key"):
        serve_options.headers_of(None, forward_keys=True, engine_key=file)
    file.write_text("two words")
    with pytest.raises(Misused, match="no API key"):
        serve_options.headers_of(None, forward_keys=False, engine_key=file)
