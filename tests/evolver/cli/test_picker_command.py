"""`evolver picker` before it serves; behind a real Envoy it runs in tests/serving_adapter/envoy."""

import importlib.util

import pytest


def test_without_its_extra_it_says_what_to_install(evolver, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "grpc" else found(name)
    )
    done = evolver("picker", "--engine", "http://127.0.0.1:1")
    assert (done.code, 'pip install "evolver[envoy]"' in done.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(("--engine", "127.0.0.1:1"), "no engine's address"), ((), "--engine"),
     (("--engine", "http://a", "--untrusted"), "--policy"),
     (("--engine", "http://a", "--tls-key", "k"), "--tls-certificate")],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(evolver, arguments, word):
    pytest.importorskip("grpc", reason="needs the envoy extra")
    done = evolver("picker", *arguments)
    assert (done.code, word in done.err) == (2, True)
