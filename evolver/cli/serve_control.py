"""The options of `evolver serve` for its dealings with a store, and what becomes of them."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import Misused
from evolver.cli.serve_options import URL

if TYPE_CHECKING:
    from policy_store.records import HostReport
    from serving_adapter.control_plane import ControlPlane
    from serving_adapter.gateway.service import ServiceSettings
    from serving_adapter.host_sum import HostSum

REPORT_EVERY_S = 5.0
_log = logging.getLogger("evolver.host")

SnapshotUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Ask there for the signed snapshot: .../snapshot of a page."),
]
ReportUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="Report there: /api/v1/hosts/report of a page.")
]
HostToken = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Holds a token of scope `host` for that page.")
]
ControlEvery = Annotated[
    float, typer.Option(min=0.1, max=3600.0, help="Seconds between two questions there.")
]
ReportToStore = Annotated[
    bool, typer.Option("--report-to-store", help="Report to the store of this machine.")
]


def control_of(
    snapshot_url: str | None, report_url: str | None, host_token: Path | None, every_s: float
) -> ControlPlane | None:
    """Where the store's page is; None where none is named.

    Raises:
        Misused: what is given does not go together.
        AdapterError: the token cannot be read.
    """
    from serving_adapter.control_plane import ControlPlane, read_token

    if snapshot_url is None and report_url is None:
        if host_token is not None:
            raise Misused("--host-token is for --snapshot-url and --report-url.")
        return None
    for url in (snapshot_url, report_url):
        if url is not None and not URL.fullmatch(url):
            raise Misused(f"{url!r} is no address; give one like https://review.example.org/...")
    return ControlPlane(
        snapshot_url=snapshot_url,
        report_url=report_url,
        token=read_token(host_token) if host_token is not None else "",
        every_s=every_s,
    )


@contextlib.contextmanager
def reporting(settings: ServiceSettings, wanted: bool) -> Iterator[None]:
    """Tell the store of this machine how the host stands, in a thread that may fail for ever."""
    if not wanted:
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(
        target=_report, args=(settings, stop), name="evolver-store-reports", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(REPORT_EVERY_S)


def _report(settings: ServiceSettings, stop: threading.Event) -> None:
    from serving_adapter.lead import lead

    said = ""
    with lead(settings.state / "store.lock") as leading:
        while not stop.wait(REPORT_EVERY_S):
            if not leading.taken():
                continue
            try:
                report_once(settings.state, settings.deployment)
                said = ""
            # Nothing that serves hangs on the store, whatever is wrong with it.
            except Exception as error:
                if str(error) != said:
                    _log.warning("reporting to the store: %s", error)
                said = str(error)


def report_once(state: Path, deployment: str) -> None:
    """Put what a host's processes say into the store.

    Raises:
        StoreError, OSError: it is not there, or takes nothing now.
    """
    from evolver.cli.policies import open_store
    from serving_adapter.control_plane import host_name
    from serving_adapter.host_sum import host_sum
    from serving_adapter.process_report import living_reports

    total = host_sum(living_reports(state))
    if total is None:
        return
    with open_store() as store:
        store.report_host(_record(total, host_name(), deployment))


def _record(total: HostSum, host: str, deployment: str) -> HostReport:
    from datetime import UTC, datetime

    from policy_store.records import Ejection, HostReport

    now = datetime.now(UTC)
    thrown = [
        Ejection(one.digest, one.sequence, one.kind.value, one.reason,
                 min(now, datetime.fromtimestamp(max(0.0, one.unix_s), UTC)))
        for one in total.ejections
    ]  # fmt: skip
    return HostReport(
        host, deployment, total.sequence, total.digest, now, tuple(thrown), total.facts
    )
