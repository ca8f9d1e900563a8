"""The OpenAI-compatible door: the policy picks the engine, the bytes pass untouched."""
