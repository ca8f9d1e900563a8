"""Policies submitted by hand: verified before anything of them is kept, in bounded size and time.

The verifier takes 16 KiB of text at most and looks at a tree of bounded size, so that one pass
takes a fraction of a second whatever the text; only so many run at once, since each takes a core.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from policy_store.errors import InvalidInput
from policy_store.lifecycle import State
from policy_store.records import Origin, PolicyVersion
from policy_store.store import PolicyStore
from sandbox.contract import CONTRACT_VERSION
from sandbox.errors import ParametersRefused, PolicyRefused
from sandbox.source import PolicySource, Tunable
from sandbox.verifier import verify

AT_ONCE = 2
_seats = threading.BoundedSemaphore(AT_ONCE)


class NotAdmitted(InvalidInput):
    """The verifier refused a text, in its own words; nothing of it is kept."""


class Busy(Exception):
    """So many do this at the moment that one more has to wait."""

    headers: Mapping[str, str] = {"Retry-After": "1"}


def submit(
    store: PolicyStore, text: str, parameters: Mapping[str, float], *, name: str, author: str
) -> tuple[PolicyVersion, bool]:
    """File a policy that a person wrote, with these values as its constants.

    Returns:
        The version, and whether it is new: the same policy is filed once, whoever wrote it first.

    Raises:
        NotAdmitted: the verifier says no, or a parameter does not fit.
        Busy: too many are being verified.
    """
    source = admitted(text, parameters, name)
    digest = source.digest()
    known = bool(store.find_policies([digest]))
    version = store.propose(
        source.canonical,
        name=name,
        origin=Origin.PERSON,
        author=author,
        contract_version=CONTRACT_VERSION,
        parameters=source.parameters(),
        claim=source.claim,
    )
    if version.state in (State.PROPOSED, State.REFUSED):
        version = store.record_verified(digest, by="verifier")
    return version, not known


def admitted(text: str, parameters: Mapping[str, float], name: str) -> PolicySource:
    """The verified source, with the parameters written into it.

    Raises:
        NotAdmitted, Busy: as `submit`.
    """
    if not _seats.acquire(blocking=False):
        raise Busy("Other policies are being verified.")
    try:
        source = verify(text, name)
        if not parameters:
            return source
        source.vector(parameters)
        return verify(written(source, parameters), name)
    except (PolicyRefused, ParametersRefused) as error:
        raise NotAdmitted(str(error)) from None
    finally:
        _seats.release()


def written(source: PolicySource, parameters: Mapping[str, float]) -> str:
    """The text with these values in place: a host needs nothing beside it."""
    tunables = {one.name: one for one in source.tunables if one.name in parameters}
    lines = []
    for line in source.annotated().splitlines():
        name, _, rest = line.partition(" = ")
        if name in tunables:
            comment = rest.partition("#")[2]
            line = f"{name} = {_number(tunables[name], parameters[name])}  #{comment}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _number(tunable: Tunable, value: float) -> str:
    return str(int(value)) if tunable.integer else repr(float(value))
