"""What the review page is given: the ways to come in, how hosts and runs are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from evolver.cli.failures import Misused
from evolver.cli.publishing import publish_changes, signing_key, snapshot_path, user_name
from evolver.cli.run_commands import history_of

if TYPE_CHECKING:
    from evolver.cli.review_ways import Ways
    from evolver.cli.screen import Screen
    from policy_store.review.access import Access
    from policy_store.review.last_hours import Recent
    from policy_store.review.settings import Settings
    from policy_store.review.site import Site
    from policy_store.store import PolicyStore
    from sandbox.report import Report


def site_of(store: PolicyStore, settings: Settings, ways: Ways, home: Path, screen: Screen) -> Site:
    """The page over the store of a home."""
    from policy_store.review.oidc import Provider
    from policy_store.review.site import Site

    provider = Provider(ways.provider, settings.base_url) if ways.provider else None
    return Site(
        store=store,
        settings=settings,
        access=_access(store, settings, ways),
        publish=_publisher(store, settings.deployment, home, screen),
        story=lambda run: _story(store, run),
        snapshot=lambda deployment: _published(home, deployment),
        provider=provider,
    )


def recent_requests(log: Path | None, cluster: str | None) -> Callable[[], Recent | None] | None:
    """Reads what the gateway recorded last; None where no log is named.

    Raises:
        Misused: one of both is missing.
        ClusterError: there is no such cluster.
    """
    if log is None and cluster is None:
        return None
    if log is None or cluster is None:
        raise Misused("A replay of the last hour takes both: --requests FILE and --cluster NAME.")
    from policy_store.review.last_hours import recent_of

    return recent_of(log, cluster)


def publish_first(site: Site, screen: Screen) -> None:
    """Have the snapshot agree with the store, whatever happened since it was written."""
    from policy_store.errors import SnapshotError

    try:
        site.publish()
    except SnapshotError as error:
        screen.warn(str(error))


def _access(store: PolicyStore, settings: Settings, ways: Ways) -> tuple[Access, ...]:
    from policy_store.review.local_access import LocalAccess, TokenAccess
    from policy_store.review.proxy import ProxyAccess

    found: list[Access] = [TokenAccess(store.accounts)]
    if ways.header is not None:
        found.append(ProxyAccess(store.accounts, settings, ways.header, ways.proxy_role))
    return (*found, LocalAccess(store.accounts, settings))


def _publisher(
    store: PolicyStore, deployment: str, home: Path, screen: Screen
) -> Callable[[], None]:
    """Writes the snapshot under the key of the home, which is made here when there is none."""
    key = signing_key(home, screen, user_name())

    def write() -> None:
        from policy_store.errors import SnapshotStale

        try:
            publish_changes(store, home, key, deployment)
        except SnapshotStale:  # somebody decided and wrote between our reading and our writing
            publish_changes(store, home, key, deployment)

    return write


def _published(home: Path, deployment: str) -> bytes | None:
    """The signed file of a deployment, as hosts of this home read it."""
    from policy_store.files import open_file
    from policy_store.snapshot import MAX_BYTES

    try:
        with open_file(snapshot_path(home, deployment)) as file:
            return file.read(MAX_BYTES)
    except (OSError, Misused):
        return None


def _story(store: PolicyStore, run: str) -> Report:
    from evolver.cli.run_report import run_report

    return run_report(history_of(store, store.runs.find_run(run)))
