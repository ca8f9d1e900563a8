"""What the process that compares simulator and fleet is given, and what it finds, as files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from evolver.errors import RecordStale
from policy_store.files import replace_file
from sandbox.cluster import ClusterSpec

ORDER, FOUND = "order.json", "found.json"
MAX_BYTES, MAX_CHARS = 16_384, 1000


class CheckOrder(BaseModel):
    """One comparison.

    Attributes:
        cluster: as its file says; shelf: of its calibrations.
        segments: of the requests from `since_unix_s` to `until_unix_s`.
        digest, text: of the live policy; before: text of the one that it replaced.
        evidence: that the live policy was promoted with.
    """

    model_config = ConfigDict(frozen=True)

    cluster: ClusterSpec
    shelf: Path
    segments: Path
    since_unix_s: float
    until_unix_s: float
    clock_speed: float
    nice: int
    digest: str | None
    text: str
    before: str
    evidence: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a comparison came to.

    Attributes:
        said: for the audit log.
        stale: why the live policy no longer keeps what its evidence promised; empty when it does.
        digest: of the policy that was live then; None for the built-in default.
    """

    said: str = ""
    stale: str = ""
    digest: str | None = None


def write_order(folder: Path, order: CheckOrder) -> None:
    """Put it where the process looks; what the last one found goes."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / FOUND).unlink(missing_ok=True)
    replace_file(folder / ORDER, order.model_dump_json().encode("utf-8"), 0o600)


def read_order(folder: Path) -> CheckOrder:
    """What is to be compared.

    Raises:
        RecordStale: it cannot be read.
    """
    try:
        return CheckOrder.model_validate_json((folder / ORDER).read_bytes())
    except (OSError, ValueError) as error:
        raise RecordStale(f"The order in {folder} cannot be read: {error}") from None


def write_found(folder: Path, found: Found) -> None:
    """Leave word for the daemon."""
    body = {name: value and value[:MAX_CHARS] for name, value in asdict(found).items()}
    replace_file(folder / FOUND, json.dumps(body).encode("ascii"), 0o600, durable=False)


def found_in(folder: Path) -> Found:
    """What was left; nothing where nothing was."""
    try:
        body = json.loads((folder / FOUND).read_bytes()[:MAX_BYTES])
        digest = body["digest"]
        return Found(str(body["said"]), str(body["stale"]), None if digest is None else str(digest))
    except (OSError, ValueError, KeyError, TypeError):
        return Found()
