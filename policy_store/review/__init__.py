"""The review page: evidence a person can read, and decisions a person can answer for.

Reading guide:

1. `app`: `create_app`, the wiring: routes, headers, what becomes of errors.
2. `site`: what a page may use; `access`: who is asking, and what they may do.
3. `situation`: what a page showed when a decision was made on it; `actions`: the decisions, each
   with a plain sentence of what will happen. Pages and the API have no other way to decide.
4. `pages_*`: one module of routes for each kind of page; `templates` and `static` are what they
   show. Everything works without scripts, and nothing is fetched from elsewhere. A policy's page
   is gathered by `policy_view`, from `evidence_view`, `comparison`, `close_up_view`, `provenance`;
   lists show policies by `glance`, and go on by `paging`.
5. `sign_in` and what it calls: coming in; `limits`, `bodies` and `guards`: what is kept out.
6. `api`: the same under `/api/v1`, as JSON.

Everything is server-rendered and escaped: a policy's source and claim are hostile text, and
`visible` shows what would hide in them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policy_store.review.app import create_app
    from policy_store.review.settings import Settings
    from policy_store.review.site import Site

__all__ = ["Settings", "Site", "create_app"]

_HOMES = {"Settings": "settings", "Site": "site", "create_app": "app"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
