"""The review page for programs: everything it shows and decides, as JSON under /api/v1.

Reading guide: `api_policies`, `api_decisions`, `api_records`, `api_people`, `api_rules` and
`api_hosts` hold the routes, `api_models`, `api_record_models` and `api_people_models` what they
take and give, `api_access` who may, `api_errors` what they refuse and in which shape, `api_routes`
what they share.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request

from policy_store.review import (
    api_decisions,
    api_hosts,
    api_people,
    api_policies,
    api_records,
    api_rules,
)
from policy_store.review.local_access import SESSION, cookie_name

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
    {"name": "hosts", "description": "For hosts: the snapshot to follow, and how they stand."},
    {"name": "runs", "description": "The searches that made policies."},
    {"name": "audit", "description": "Who decided what and why, and whether that is intact."},
    {"name": "self", "description": "Who you are here, and your tokens."},
    {"name": "people", "description": "Who may come in, and as what; for admins."},
    {"name": "rules", "description": "Written rules that approve by themselves."},
    {"name": "schema", "description": "This description."},
]
schema = APIRouter(prefix="/api/v1")


@schema.get("/openapi.json", operation_id="getSchema", tags=["schema"])
def openapi(request: Request) -> dict[str, Any]:
    """This description; no sign-in is needed."""
    return described(request.app)


def described(app: FastAPI) -> dict[str, Any]:
    """The schema of an application, with the name that its cookie has."""
    found = app.openapi()
    scheme = found["components"]["securitySchemes"]["session"]
    scheme["name"] = cookie_name(app.state.site.settings, SESSION)
    return found


ROUTERS = (
    api_policies.router, api_decisions.router, api_records.router, api_people.router,
    api_rules.router, api_hosts.router, schema,
)  # fmt: skip
