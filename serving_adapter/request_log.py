"""One line per request for telemetry: times, token counts and outcome, never text."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from serving_adapter.decision import Arm, Decision
from serving_adapter.facts import RequestFacts
from serving_adapter.live import Live
from serving_adapter.prompt_blocks import BLOCK_TOKENS


class RequestOutcome(StrEnum):
    """How a request ended; every request ends exactly once."""

    OK = "ok"
    CLIENT_ERROR = "client_error"  # the engine answered 4xx
    ENGINE_ERROR = "engine_error"  # the engine answered 5xx, or none answered
    BROKEN = "broken"  # the engine stopped in mid-answer
    ABANDONED = "abandoned"  # the client went away
    REJECTED = "rejected"  # the policy refused it
    NO_ENGINE = "no_engine"  # none takes requests


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """What telemetry keeps of one request.

    Attributes:
        arrived_unix_s: wall-clock time of arrival.
        endpoint: `chat`, `completions`, `embeddings` or `models`.
        prompt_tokens: by the engine's usage when `usage` is true, else estimated.
        output_tokens: by the engine's usage when `usage` is true, else counted events.
        waited_s: until it was sent to the engine that answered; holds and retries included.
        ttft_s, last_token_s, e2e_s: from arrival until the first and the last token passed, and
            until it left; NaN when there was none.
        sequence, digest, instance_id: of the last decision; -1 and empty without one.
        arm, compared: of the comparison with the control, and the digest of the policy that is
            compared; none when a swap fell between two decisions.
        online: whether somebody waits for it.
        decision: id of the last decision, as BOOT-NUMBER.
        prefix: equal for prompts that begin alike, a number under a key, -1 without;
            prefix_tokens: so many tokens of them, by the gateway's estimate.
        turn: of the session, from 0.
        max_output_tokens: that the client asked for at most, -1 without a limit.
        prompt_estimate_tokens: the gateway's estimate, whatever `usage` is.
        cached_tokens: of the prompt, that the engine's usage says it had; -1 when it does not say.
        weight: as the policy saw it.
        block_tokens, blocks: salted hashes of the prompt, see `prompt_blocks`; 0 without a key.
    """

    arrived_unix_s: float
    endpoint: str
    outcome: RequestOutcome
    status: int
    stream: bool
    prompt_tokens: int
    output_tokens: int
    usage: bool
    tenant: int
    session: int
    attempts: int
    instance_id: int
    sequence: int
    digest: str
    waited_s: float
    ttft_s: float
    e2e_s: float
    arm: Arm = Arm.NONE
    compared: str = ""
    online: bool = True
    prefix: int = -1
    prefix_tokens: int = 0
    decision: str = ""
    turn: int = 0
    max_output_tokens: int = -1
    prompt_estimate_tokens: int = -1
    cached_tokens: int = -1
    weight: float = 1.0
    last_token_s: float = math.nan
    block_tokens: int = 0
    blocks: str = ""


@dataclass(slots=True)
class Visit:
    """A request while it is in the gateway; times are on the host's clock.

    `live` is what decided it first and decides it to the end, whatever is swapped in meanwhile.
    """

    endpoint: str
    arrived_unix_s: float
    facts: RequestFacts
    live: Live | None = None
    failed: frozenset[int] = frozenset()
    attempts: int = 0
    decisions: list[Decision] = field(default_factory=list)
    sent_s: float = math.nan
    first_token_s: float = math.nan
    last_token_s: float = math.nan
    outcome: RequestOutcome = RequestOutcome.ABANDONED
    status: int = 0
    prompt_tokens: int = -1
    output_tokens: int = 0
    cached_tokens: int = -1
    usage: bool = False

    def ended(self, outcome: RequestOutcome, status: int) -> None:
        """Set how it ended."""
        self.outcome, self.status = outcome, status

    def record(self, now_s: float) -> RequestRecord:
        """The line for telemetry, at the end."""
        facts, last = self.facts, self.decisions[-1] if self.decisions else None
        return RequestRecord(
            arrived_unix_s=self.arrived_unix_s,
            endpoint=self.endpoint,
            outcome=self.outcome,
            status=self.status,
            stream=facts.stream,
            prompt_tokens=self.prompt_tokens if self.prompt_tokens >= 0 else facts.prompt_tokens,
            output_tokens=self.output_tokens,
            usage=self.usage,
            tenant=facts.tenant,
            session=facts.session,
            attempts=self.attempts,
            instance_id=last.instance_id if last else -1,
            sequence=last.sequence if last else -1,
            digest=last.digest if last else "",
            waited_s=self.sent_s - facts.arrived_s,
            ttft_s=self.first_token_s - facts.arrived_s,
            e2e_s=now_s - facts.arrived_s,
            arm=last.arm if last and last.compared == self.decisions[0].compared else Arm.NONE,
            compared=last.compared if last else "",
            online=facts.online,
            prefix=facts.prefix_key,
            prefix_tokens=facts.prefix_tokens,
            decision=last.id if last else "",
            turn=facts.turn,
            max_output_tokens=facts.max_output_tokens,
            prompt_estimate_tokens=facts.prompt_tokens,
            cached_tokens=self.cached_tokens,
            weight=facts.weight,
            last_token_s=self.last_token_s - facts.arrived_s,
            block_tokens=BLOCK_TOKENS if facts.block_hashes else 0,
            blocks=facts.block_hashes,
        )
