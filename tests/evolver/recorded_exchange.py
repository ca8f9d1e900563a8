"""An exchange with a model, as a test wants it."""

from evolver.exchanges import Exchange, prompt_digest
from evolver.moves import Move
from sandbox.identity import text_digest

MESSAGES = ({"role": "user", "content": "Improve this."},)


def exchange(reply="No.", ask="1.0.0", messages=MESSAGES, **fields):
    """An answer to the ask with that reply, or whatever the fields say."""
    usual = {
        "model": "openai/strong",
        "prompt_version": 1,
        "prompt_digest": prompt_digest(messages),
        "messages": tuple(messages),
        "reply": reply,
        "reply_digest": text_digest(reply),
        "finish": "stop",
        "tokens_in": 1000,
        "tokens_out": 200,
        "price_usd": 0.004,
        "price_known": True,
        "seconds": 1.5,
        "ask": ask,
        "move": Move.REWRITE,
        "date": "2026-03-01T12:00:00+00:00",
    }
    return Exchange(**(usual | fields))
