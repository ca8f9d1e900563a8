"""What a gateway knows of a request: numbers only, read off the body and dropped with it.

Names that a client chose (user, session) become 62-bit numbers under a key, the deployment's or
one drawn when the process starts, so they can be compared but not read back. Prompt tokens follow
the rule of `openai_api.py`; the cached prefix is estimated as what the session's previous call left
behind.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from serving_adapter.errors import BadBody
from serving_adapter.openai_api import (
    CHARS_PER_TOKEN,
    Body,
    estimate_prompt_tokens,
    max_output_tokens,
)
from serving_adapter.prompt_blocks import block_hashes
from telemetry.output_lengths import OutputLengths

MAX_SESSIONS = 10_000
PREFIX_CHARS = 512
ONLY_CLASS = 1  # of requests at a gateway, see `class_id` in docs/signals.md
SESSION_HEADER = "x-session-id"
TENANT_HEADER = "x-tenant-id"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """One request as the policy may see it; -1 and NaN mean missing.

    Attributes:
        arrived_s: on the host's clock.
        max_output_tokens: the client's limit, -1 without one.
        cached_tokens: of the prompt, estimated to be cached on `last_instance`.
        prefix_tokens: of the prompt's beginning that `prefix_key` stands for, estimated.
        block_hashes: salted, of the prompt's stretches, see `prompt_blocks`; empty without a key.
    """

    arrived_s: float
    prompt_tokens: int
    max_output_tokens: int = -1
    predicted_output_tokens: float = math.nan
    predicted_output_error: float = math.nan
    stream: bool = False
    tenant: int = 0
    session: int = -1
    turn: int = 0
    last_instance: int = -1
    cached_tokens: int = 0
    prefix_key: int = -1
    prefix_tokens: int = 0
    weight: float = 1.0
    online: bool = True
    block_hashes: str = ""


@dataclass(slots=True)
class _Session:
    turns: int = 0
    last_instance: int = -1
    context_tokens: int = 0


class FactReader:
    """Reads `RequestFacts` and remembers, per session, where its previous call went.

    Args:
        key: of the deployment; without one, numbers of names are of use to this process alone,
            and prompts are not hashed.
        lengths: predicts answers from those that ended, and learns.
        hash_prompts: False where nobody keeps what prompts share.
    """

    def __init__(
        self,
        key: bytes | None = None,
        lengths: OutputLengths | None = None,
        *,
        hash_prompts: bool = True,
    ) -> None:
        self._hash_key = key if hash_prompts else None
        self._key = key or secrets.token_bytes(16)
        self._sessions: OrderedDict[int, _Session] = OrderedDict()
        self.lengths = lengths or OutputLengths()

    def read(
        self, body: Body, headers: Mapping[str, str], now_s: float, tenant: str | None = None
    ) -> RequestFacts:
        """The facts of one request.

        Args:
            body: the request.
            headers: of the request.
            now_s: on the host's clock.
            tenant: whose request it is for certain; without one, whose it says it is.

        Raises:
            BadBody: a length limit is not a whole number, or the prompt is nested too deeply.
        """
        limit = max_output_tokens(body)
        limit_tokens = -1 if limit is None else limit
        try:
            prompt_tokens, (opening, prefix_tokens) = estimate_prompt_tokens(body), _opening(body)
        except RecursionError:
            raise BadBody("The prompt is nested too deeply: send text or token ids.") from None
        named = headers.get(SESSION_HEADER)
        # Sessions of two tenants are two, whatever both call them.
        session = self._number(named if tenant is None or not named else f"{tenant} {named}")
        known = self._sessions.get(session, _Session())
        whose = self._number(tenant or headers.get(TENANT_HEADER) or body.get("user"))
        asked = (ONLY_CLASS, max(0, whose), prompt_tokens, known.turns, limit_tokens)
        said = self.lengths.predict(*asked)
        return RequestFacts(
            arrived_s=now_s,
            prompt_tokens=prompt_tokens,
            max_output_tokens=limit_tokens,
            predicted_output_tokens=math.nan if said is None else said.mean_tokens,
            predicted_output_error=math.nan if said is None else said.relative_error,
            stream=body.get("stream") is True,
            tenant=max(0, whose),
            session=session,
            turn=known.turns,
            last_instance=known.last_instance,
            cached_tokens=min(known.context_tokens, prompt_tokens),
            prefix_key=self._number(opening),
            prefix_tokens=min(prefix_tokens, prompt_tokens),
            block_hashes=block_hashes(body, self._hash_key) if self._hash_key else "",
        )

    def ended(self, facts: RequestFacts, instance_id: int, output_tokens: int) -> None:
        """Remember a request that was answered in full; 0 tokens where nobody counted them."""
        if output_tokens > 0:
            self.lengths.learn(
                ONLY_CLASS, facts.tenant, facts.prompt_tokens, facts.turn,
                facts.max_output_tokens, output_tokens,
            )  # fmt: skip
        if facts.session < 0:
            return
        known = self._sessions.setdefault(facts.session, _Session())
        known.turns += 1
        known.last_instance = instance_id
        known.context_tokens = facts.prompt_tokens + output_tokens
        self._sessions.move_to_end(facts.session)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)

    def _number(self, text: object) -> int:
        """A name as a number, -1 for none."""
        if not isinstance(text, str) or not text:
            return -1
        digest = hashlib.blake2b(
            text.encode("utf-8", "surrogatepass"), digest_size=8, key=self._key
        ).digest()
        return int.from_bytes(digest, "big") >> 2


def _opening(body: Body) -> tuple[str | None, int]:
    """The first characters of the prompt, to be hashed at once, and how many tokens they are."""
    messages = body.get("messages")
    prompt = body.get("prompt")
    if isinstance(messages, list) and messages and isinstance(messages[0], dict):
        prompt = messages[0].get("content")
    if isinstance(prompt, list):
        first = prompt[: PREFIX_CHARS // CHARS_PER_TOKEN]
        known = all(isinstance(one, int) for one in first)
        return repr(first)[:PREFIX_CHARS], len(first) * known
    if not isinstance(prompt, str):
        return None, 0
    first_text = prompt[:PREFIX_CHARS]
    return first_text, len(first_text) // CHARS_PER_TOKEN
