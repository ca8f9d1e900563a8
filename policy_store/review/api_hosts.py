"""What serving hosts come for: the signed snapshot to follow, and a place to say how they stand.

Both take a token of scope `host`, which is good for nothing else. A snapshot is believed for its
signature, so whoever serves it need not be trusted; a report is believed by nobody, only shown.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Response
from pydantic import Field

from policy_store.records import Ejection, HostReport
from policy_store.review.api_access import Hosts
from policy_store.review.api_errors import refusals
from policy_store.review.api_models import DIGEST, Asked
from policy_store.review.api_routes import Answered, NotFound, TooLarge, UnlessSame
from policy_store.review.site import Here

REPORTS_PER_MINUTE = 120
MAX_FACTS, MAX_EJECTIONS = 64, 16
WORD = r"^[\x20-\x7e]*[\x21-\x7e][\x20-\x7e]*$"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"
_HEX = r"^[0-9a-f]{64}$"

router = APIRouter(prefix="/api/v1", tags=["hosts"], route_class=Answered, responses=refusals())
Deployment = Annotated[str, Path(pattern=NAME, examples=["default"])]
Number = Annotated[float, Field(ge=0, le=1e300, allow_inf_nan=False)]
Sequence = Annotated[int, Field(ge=0, le=2**53)]


class EjectionTold(Asked):
    """A policy that a host took out."""

    digest: str = Field(pattern=_HEX, examples=[DIGEST])
    sequence: Sequence
    kind: str = Field(pattern=NAME, examples=["error"])
    reason: str = Field(min_length=1, max_length=200, pattern=WORD)
    unix_s: float = Field(ge=0, le=1e11, allow_inf_nan=False)


class Report(Asked):
    """What one host runs and did, as its processes say together."""

    host: str = Field(pattern=NAME, examples=["gpu-1"])
    deployment: str = Field(pattern=NAME, examples=["default"])
    sequence: Sequence
    digest: str | None = Field(pattern=_HEX, description="Null: the built-in default decides.")
    facts: dict[
        Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,39}$")],
        Number | Annotated[str, Field(max_length=80, pattern=WORD)],
    ] = Field(max_length=MAX_FACTS, description="Counts since it started, and words, by name.")
    ejections: list[EjectionTold] = Field(max_length=MAX_EJECTIONS)


@router.get(
    "/deployments/{name}/snapshot", operation_id="getSnapshot", response_class=Response,
    responses=UnlessSame | NotFound | {
        200: {"content": {"application/json": {}}, "description": "As it was signed."}},
)  # fmt: skip
def snapshot(site: Here, _: Hosts, name: Deployment) -> Response:
    """The signed snapshot of a deployment, byte for byte; hosts check it and need not trust us."""
    content = site.snapshot(name)
    if content is None:
        raise HTTPException(404, "Nothing was published for that deployment.")
    return Response(content, media_type="application/json")


@router.post(
    "/hosts/report", operation_id="reportHost", status_code=204, responses=TooLarge | NotFound
)
def report(site: Here, visitor: Hosts, body: Report) -> None:
    """Say how a host stands; the latest report counts, and an ejection stays in the audit log."""
    if body.deployment not in {site.settings.deployment, *site.store.deployments()}:
        raise HTTPException(404, "Nothing was ever decided for that deployment.")
    site.limits.posted(f"host {visitor.name} {body.host}", REPORTS_PER_MINUTE)
    now = datetime.now(UTC)
    thrown = [
        Ejection(one.digest, one.sequence, one.kind, one.reason,
                 min(now, datetime.fromtimestamp(one.unix_s, UTC)))
        for one in body.ejections
    ]  # fmt: skip
    site.store.report_host(
        HostReport(
            body.host, body.deployment, body.sequence, body.digest, now, tuple(thrown), body.facts
        )
    )
