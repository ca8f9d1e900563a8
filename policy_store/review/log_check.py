"""Checking the whole audit log, for pages and the API: one at a time, since each takes a core.

A million entries take several seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Collection

from policy_store.records import AuditVerdict
from policy_store.review.submission import Busy
from policy_store.store import PolicyStore

_running = threading.Lock()


def checked(store: PolicyStore, heads: Collection[str] = ()) -> AuditVerdict:
    """What the chain says, from its first entry.

    Args:
        heads: hashes of last entries that were kept elsewhere.

    Raises:
        Busy: it is being checked for somebody else.
    """
    if not _running.acquire(blocking=False):
        raise Busy("The log is being checked for somebody else: try again in a moment.")
    try:
        return store.audit.verify(heads)
    finally:
        _running.release()
