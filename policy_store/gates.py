"""Whether a policy's evidence speaks for it: what stands between it and an ordinary approval."""

from __future__ import annotations

import functools

from policy_store.records import EvidenceRecord, PolicyDetails
from sandbox.errors import PolicyRefused
from sandbox.evidence import Evidence, EvidenceRefused, GateStatus, Outcome
from sandbox.identity import canonical_json
from sandbox.signal_profiles import objection_to, signal_profile


@functools.lru_cache(maxsize=64)
def measured(record: EvidenceRecord) -> Evidence | None:
    """A document as the sandbox's record; None for what this version cannot read."""
    try:
        return Evidence.from_json(canonical_json(dict(record.document)))
    except EvidenceRefused:
        return None


def latest_evidence(details: PolicyDetails) -> Evidence | None:
    """What was measured last, when it can be read."""
    return measured(details.evidence[-1]) if details.evidence else None


def objection(evidence: Evidence | None, policy: str) -> str:
    """Why approving takes an admin who overrides it; empty when nothing stands against it.

    Args:
        policy: full digest of what is to be approved, which must be what was measured.
    """
    if evidence is None:
        return "It has no measurements that this version can read."
    measured_one = evidence.contenders[0].digest
    if measured_one != policy:
        return f"Its measurements are of another policy, {measured_one[:12]}."
    failed = [gate for gate in evidence.gates if gate.status is GateStatus.FAIL]
    if failed:
        names = ", ".join(gate.name for gate in failed)
        return f"It failed {'a gate' if len(failed) == 1 else 'gates'}: {names}."
    if evidence.outcome is not Outcome.IMPROVED:
        return f"Its verdict is {evidence.outcome.value.replace('_', ' ')}, not improved."
    return ""


def unheard(details: PolicyDetails, door: str | None) -> str:
    """What a policy was proved with and will not be told where it is to run; empty for nothing.

    Args:
        details: of a policy whose text is a policy's.
        door: name of the deployment's signal profile; None when nobody said.
    """
    evidence = latest_evidence(details)
    if evidence is None or door is None:
        return ""
    try:
        return objection_to(details.source.text, evidence.signals, signal_profile(door))
    except PolicyRefused:
        return ""  # the verifier says so, in a place of its own
