"""The review page for programs: everything it shows and decides, as JSON under /api/v1.

Reading guide: `api_policies`, `api_decisions` and `api_records` hold the routes, `api_models` and
`api_record_models` what they take and give, `api_access` who may, `api_errors` what they refuse and
in which shape, `api_routes` what they share.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Request

from policy_store.review import api_decisions, api_policies, api_records

DESCRIPTION = """\
Everything that the review page shows and decides, for programs. Every error has one shape:
`{"error": {"code", "message", "next"}}`. Lists come in pages: send `next` of one as `after` of the
next. Answers to GET have an ETag. A request is at most 256 KiB and 16 levels of JSON.

A decision carries what it was made on, as `seen`, and is refused with 409 once that has changed.
Each decision changes it, so each counts once, however often it is sent: no other key is needed.
"""
TAGS = [
    {"name": "policies", "description": "What there is, what is known about it, and submitting."},
    {"name": "decisions", "description": "Approving, rejecting, trials, promoting, rolling back."},
    {"name": "live", "description": "What hosts run."},
    {"name": "runs", "description": "The searches that made policies."},
    {"name": "audit", "description": "Who decided what and why, and whether that is intact."},
    {"name": "self", "description": "Who you are here, and your tokens."},
    {"name": "people", "description": "Who may come in, and as what; for admins."},
    {"name": "rules", "description": "Written rules that approve by themselves."},
    {"name": "schema", "description": "This description."},
]
schema = APIRouter(prefix="/api/v1")


@schema.get("/openapi.json", operation_id="getSchema", tags=["schema"])
def openapi(request: Request) -> Mapping[str, object]:
    """This description; no sign-in is needed."""
    described: Mapping[str, object] = request.app.openapi()
    return described


ROUTERS = (api_policies.router, api_decisions.router, api_records.router, schema)
