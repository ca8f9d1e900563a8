"""Who was made from whom: the relatives of a version, nearest first and bounded in number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from policy_store.engine import Database
from policy_store.records import PolicyVersion
from policy_store.rows import find_version, version_records
from policy_store.tables import ParentRow, VersionRow

MOST = 200


@dataclass(frozen=True, slots=True)
class Family:
    """A version with its ancestors and descendants.

    Attributes:
        versions: by digest.
        depths: generations by digest: 0 for the version asked for, -1 for its parents, 1 for its
            children; a relative by several lines counts by the shortest.
        older_left, younger_left: whether there are more ancestors or descendants than these.
    """

    root: str
    versions: Mapping[str, PolicyVersion]
    depths: Mapping[str, int]
    older_left: bool
    younger_left: bool

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """(parent, child) among the versions here; a child's first parent first."""
        return tuple(
            (parent, child)
            for child, version in self.versions.items()
            for parent in version.parents
            if parent in self.versions
        )

    @property
    def main_line(self) -> tuple[PolicyVersion, ...]:
        """From the oldest known first parent down to the version asked for."""
        line, met = [self.versions[self.root]], {self.root}
        while line[0].parents and line[0].parents[0] in self.versions:
            parent = line[0].parents[0]
            if parent in met:
                break
            met.add(parent)
            line.insert(0, self.versions[parent])
        return tuple(line)


class Lineage:
    """Following parents and children."""

    _database: Database

    def family(self, policy: str, most: int = MOST) -> Family:
        """A version with at most so many ancestors and as many descendants, nearest first.

        Raises:
            UnknownPolicy: no such policy.
        """
        with self._database.reading() as session:
            root = find_version(session, policy).digest
            older, older_left = _walk(session, root, ParentRow.child, ParentRow.parent, most)
            younger, younger_left = _walk(session, root, ParentRow.parent, ParentRow.child, most)
            depths = younger | {digest: -depth for digest, depth in older.items()}
            query = select(VersionRow).where(VersionRow.digest.in_(depths))
            records = version_records(session, session.scalars(query).all())
            versions = {record.digest: record for record in records}
            return Family(root, versions, depths, older_left, younger_left)


def _walk(
    session: Session,
    root: str,
    near: InstrumentedAttribute[str],
    far: InstrumentedAttribute[str],
    most: int,
) -> tuple[dict[str, int], bool]:
    """Generation by generation from `near` to `far`; how far each is, and whether any was left."""
    found, front, depth = {root: 0}, [root], 0
    while front:
        depth += 1
        room = most + 1 - len(found)
        query = select(far).where(near.in_(front)).distinct().order_by(far)
        beyond = [digest for digest in session.scalars(query) if digest not in found]
        front = beyond[: max(room, 0)]
        found |= dict.fromkeys(front, depth)
        if len(beyond) > len(front):
            return found, True
    return found, False
