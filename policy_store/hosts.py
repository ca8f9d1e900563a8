"""What serving hosts say: which policy each runs, and what its watchdog threw out.

A report is kept as it comes, even of a digest that the store does not know: a host that runs
something else must show. Taking an ejected policy out everywhere is a decision of its own.
"""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from policy_store import audit
from policy_store.engine import Database
from policy_store.errors import InvalidInput
from policy_store.intake import plain_digest, plain_name, required_note
from policy_store.records import DEFAULT_DEPLOYMENT, Ejection, HostReport
from policy_store.tables import HostEjectionRow, HostRow

MAX_HOSTS = 1000  # of one deployment
MAX_HOST_EJECTIONS = 200  # of one host: the audit log keeps each for ever


class Hosts:
    """Reports of serving hosts."""

    _database: Database

    def report_host(self, report: HostReport) -> None:
        """Keep a host's latest report; each ejection that is new goes into the audit log.

        Raises:
            InvalidInput: a name, digest or reason cannot be kept, or there are too many hosts.
        """
        key = plain_name(report.deployment), plain_name(report.host)
        if report.digest is not None:
            plain_digest(report.digest)
        with self._database.deciding() as session:
            row = session.get(HostRow, key)
            if row is None:
                mine = select(func.count()).where(HostRow.deployment == key[0])
                if (session.scalar(mine) or 0) >= MAX_HOSTS:
                    raise InvalidInput(
                        f"{MAX_HOSTS} hosts have reported for {key[0]} already: look for a program "
                        "that invents names, or run `evolver store prune`."
                    )
                row = HostRow(
                    deployment=key[0],
                    host=key[1],
                    sequence=report.sequence,
                    digest=report.digest,
                    seen_at=report.seen_at,
                )
                session.add(row)
                session.flush()
            row.sequence, row.digest = report.sequence, report.digest
            row.seen_at, row.facts = report.seen_at, dict(report.facts)
            for ejection in report.ejections:
                self._keep_ejection(session, key, ejection)

    def hosts(self, deployment: str = DEFAULT_DEPLOYMENT) -> tuple[HostReport, ...]:
        """The latest report of each host of a deployment, by name, with all its ejections."""
        hosts = select(HostRow).where(HostRow.deployment == deployment).order_by(HostRow.host)
        ejections = select(HostEjectionRow).where(HostEjectionRow.deployment == deployment)
        with self._database.reading() as session:
            by_host = defaultdict[str, list[Ejection]](list)
            for each in session.scalars(ejections.order_by(HostEjectionRow.at)):
                ejection = Ejection(each.digest, each.sequence, each.kind, each.reason, each.at)
                by_host[each.host].append(ejection)
            rows = session.scalars(hosts).all()
            return tuple(_report(row, by_host[row.host]) for row in rows)

    def _keep_ejection(self, session: Session, key: tuple[str, str], ejection: Ejection) -> None:
        deployment, host = key
        if session.get(HostEjectionRow, (*key, ejection.digest, ejection.sequence)) is not None:
            return
        its = (HostEjectionRow.deployment == deployment, HostEjectionRow.host == host)
        kept = session.scalar(select(func.count()).select_from(HostEjectionRow).where(*its)) or 0
        if kept >= MAX_HOST_EJECTIONS:
            return
        session.add(
            HostEjectionRow(
                deployment=deployment,
                host=host,
                digest=plain_digest(ejection.digest),
                sequence=ejection.sequence,
                kind=plain_name(ejection.kind),
                reason=required_note(ejection.reason),
                at=ejection.at,
            )
        )
        audit.append(
            session,
            at=self._database.clock(),
            actor=host,
            action="host_ejected",
            subject=ejection.digest,
            deployment=deployment,
            note=ejection.reason,
            details={"kind": ejection.kind, "sequence": ejection.sequence},
        )


def _report(row: HostRow, ejections: Sequence[Ejection]) -> HostReport:
    return HostReport(
        row.host, row.deployment, row.sequence, row.digest, row.seen_at, tuple(ejections),
        row.facts or {},
    )  # fmt: skip
