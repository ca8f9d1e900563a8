from importlib.util import find_spec

import pytest

from evolver.model_errors import ModelSetupWrong
from evolver.model_prices import price_known, price_usd, require_price
from evolver.model_settings import ModelSettings, check_settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "gpt-4o"}, "write openai/gpt-4o for OpenAI"),
        ({"model": "openai/"}, "write openai/openai"),
        ({"model": ""}, "write openai/NAME"),
        ({"model": "openai/a b"}, "printable"),
        ({"model": "openai/x", "api_base": "localhost:8000/v1"}, "http://HOST:PORT/v1"),
        ({"model": "openai/x", "api_base": "http://me:secret@host/v1"}, "addresses are recorded"),
        ({"model": "openai/x", "api_base": "http://host/v1?key=secret"}, "addresses are recorded"),
        ({"model": "openai/x", "tries": 0}, "tries of openai/x is 0"),
        ({"model": "openai/x", "idle_s": float("nan")}, "idle_s"),
        ({"model": "openai/x", "price_in": -1.0}, "dollars from 0 on"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_what_to_write(settings, words):
    with pytest.raises(ModelSetupWrong, match=words) as caught:
        check_settings(ModelSettings(**settings))
    assert "secret" not in str(caught.value)


def test_a_price_comes_from_the_settings_first():
    settings = ModelSettings("openai/gpt-4o", price_in=2.0, price_out=10.0)
    assert price_usd(settings, 1000, 200) == pytest.approx(0.004)


@pytest.mark.skipif(find_spec("litellm") is None, reason="needs the llm extra")
def test_else_from_litellms_table():
    assert price_usd(ModelSettings("openai/gpt-4o"), 1000, 1000) > 0.0
    assert price_known(ModelSettings("deepseek/deepseek-chat"))


def test_a_limit_in_dollars_needs_a_price():
    with pytest.raises(ModelSetupWrong, match="limit tokens instead"):
        require_price(ModelSettings("openai/nobody-knows-me"))
