"""What the API says when it refuses: one shape for every error, with what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from policy_store.errors import (
    DamagedStore,
    ForbiddenMove,
    NothingLive,
    NotPublished,
    OwnWork,
    StaleDecision,
)
from policy_store.review.submission import NotAdmitted

PREFIX = "/api/"


class Code(StrEnum):
    """What went wrong, for programs; stable."""

    BAD_REQUEST = "bad_request"
    SIGN_IN_NEEDED = "sign_in_needed"
    NOT_ALLOWED = "not_allowed"
    OWN_WORK = "own_work"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TOO_SLOW = "too_slow"
    STALE = "stale"
    FORBIDDEN_MOVE = "forbidden_move"
    NOTHING_LIVE = "nothing_live"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    INVALID = "invalid"
    POLICY_REFUSED = "policy_refused"
    TOO_MANY = "too_many"
    DAMAGED = "damaged"
    NOT_PUBLISHED = "not_published"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"


NEXT = {
    Code.BAD_REQUEST: "Send JSON with Content-Type: application/json, as /api/v1/openapi.json "
    "describes it.",
    Code.SIGN_IN_NEEDED: "Send Authorization: Bearer TOKEN; a person makes tokens on /account.",
    Code.NOT_ALLOWED: "Use an account or a token that may do it; GET /api/v1/me says what this one "
    "may.",
    Code.OWN_WORK: "Ask somebody else to look at it and to decide.",
    Code.NOT_FOUND: "Look for it in the list that it belongs to.",
    Code.METHOD_NOT_ALLOWED: "Use one of the methods in the Allow header.",
    Code.TOO_SLOW: "Send the whole request at once.",
    Code.STALE: "Read the offers again, then decide on what they say now.",
    Code.FORBIDDEN_MOVE: "Read the offers: they say what can be decided now.",
    Code.NOTHING_LIVE: "There is nothing to do.",
    Code.CONFLICT: "Read it again, then decide.",
    Code.TOO_LARGE: "Send less at a time.",
    Code.INVALID: "Mend what is named, as /api/v1/openapi.json describes it, and send it again.",
    Code.POLICY_REFUSED: "Mend each line that is named, then submit it again.",
    Code.TOO_MANY: "Wait as long as Retry-After says, then try again.",
    Code.DAMAGED: "Restore a backup; `evolver store verify` says what is damaged.",
    Code.NOT_PUBLISHED: "The decision stands, so do not send it again; mend what is named, then "
    "run `evolver policy publish`.",
    Code.UNAVAILABLE: "Try again in a moment.",
    Code.FAILED: "Look into the server's log, and tell whoever runs it.",
}
_BY_STATUS = {
    400: Code.BAD_REQUEST, 401: Code.SIGN_IN_NEEDED, 403: Code.NOT_ALLOWED, 404: Code.NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED, 408: Code.TOO_SLOW, 409: Code.CONFLICT, 413: Code.TOO_LARGE,
    414: Code.TOO_LARGE, 422: Code.INVALID, 429: Code.TOO_MANY, 431: Code.TOO_LARGE,
    503: Code.UNAVAILABLE,
}  # fmt: skip
_BY_KIND: Mapping[type[BaseException], Code] = {
    OwnWork: Code.OWN_WORK, StaleDecision: Code.STALE, ForbiddenMove: Code.FORBIDDEN_MOVE,
    NothingLive: Code.NOTHING_LIVE, NotAdmitted: Code.POLICY_REFUSED, DamagedStore: Code.DAMAGED,
    NotPublished: Code.NOT_PUBLISHED,
}  # fmt: skip
_PLAIN = {
    "Not Found": "There is nothing at this address.",
    "Method Not Allowed": "This address does not take that method.",
}


class Problem(BaseModel):
    """Why a request was refused."""

    model_config = ConfigDict(extra="forbid")
    code: Code = Field(description="What went wrong, for programs.")
    message: str = Field(description="What went wrong, for people.")
    next: str = Field(description="What to do about it.")


class Refusal(BaseModel):
    """The one shape of every error."""

    model_config = ConfigDict(extra="forbid")
    error: Problem


def answer(
    status: int,
    sentence: str,
    error: BaseException | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A refusal as the API gives it; the kind of error, where known, says more than its status."""
    kinds = type(error).__mro__ if error is not None else ()
    code = next((_BY_KIND[kind] for kind in kinds if kind in _BY_KIND), None)
    code = code or _BY_STATUS.get(status, Code.FAILED)
    message = _PLAIN.get(sentence, sentence)
    problem = Problem(code=code, message=message, next=NEXT[code])
    return JSONResponse(Refusal(error=problem).model_dump(mode="json"), status, headers)


def is_api(path: str) -> bool:
    """Whether a program asked, by the address."""
    return path.startswith(PREFIX) or path == PREFIX.rstrip("/")


def refusals(*more: int) -> dict[int | str, dict[str, object]]:
    """The errors that a route can answer with, for the schema: those of every route, and `more`."""
    usual = {
        400: "Not a request that can be read.",
        401: "Nobody is signed in.",
        403: "Who is signed in may not do this.",
        404: "There is no such thing.",
        408: "The request came too slowly.",
        409: "What it was decided on has changed, or the step is not allowed.",
        413: "The request is too large.",
        422: "A field, or the policy, is not acceptable.",
        429: "Too many requests; Retry-After says how long to wait.",
        500: "Something is damaged, or failed inside.",
        503: "The store cannot be used at the moment.",
    }
    every = {400, 401, 403, 422, 429, 500, 503}
    return {
        status: {"model": Refusal, "description": usual[status]}
        for status in sorted(every | set(more))
    }
