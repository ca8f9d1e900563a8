"""The built-in proposer: seeded structural mutation of policies, no model and no key needed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from evolver import edits, insertions, splice
from evolver.draft import Draft
from evolver.edits import Edit
from evolver.proposer import Proposal, ProposalRequest
from evolver.tuner import axes_of

MAX_LINES, MAX_COLUMNS = 150, 200  # a person will read it
EDITS = (1, 1, 1, 2, 2, 3)  # how many at once, drawn evenly
CONSTANTS_ONLY = 0.1  # share of proposals that move constants and nothing else
DRAWS = 12  # operators tried for one edit before giving up

_INSIDE: tuple[tuple[Edit, int], ...] = (
    (insertions.insert_term, 8),
    (insertions.guard, 2),
    (insertions.join_condition, 2),
    (insertions.skip_some, 2),
    (insertions.new_hook, 8),
    (edits.drop_term, 3),
    (edits.drop_guard, 1),
    (edits.drop_hook, 1),
    (edits.swap_comparison, 1),
    (edits.swap_operator, 1),
    (edits.swap_field, 3),
    (edits.scale, 3),
    (edits.bend, 2),
)
_SPLICES = 10  # weight of all grafts from other policies together


@dataclass(frozen=True, slots=True)
class Mutator:
    """Changes the parent by a few typical edits, borrowing from other members.

    `donors` are further verified texts to borrow from (the library); `hooks` are those that may be
    written anew, None is any. A function of the request: the same request gives the same proposal.
    """

    donors: tuple[str, ...] = ()
    name: str = "mutator"
    hooks: frozenset[str] | None = None
    waits: bool = False

    def propose(self, request: ProposalRequest) -> Proposal | None:
        """One changed policy, not verified yet; None when no edit found a place."""
        rng = random.Random(request.rng_seed)
        if rng.random() < CONSTANTS_ONLY:
            moved = self._move_constants(request, rng)
            if moved is not None:
                return moved
        draft = Draft.read(request.parent.text, request.parent.parameters)
        draft.wanted = self.hooks
        done, lenders = [], list[str]()
        for _ in range(rng.choice(EDITS)):
            change, lender = self._edit(draft, request, rng)
            done += [change] if change else []
            lenders += [lender] if lender else []
        text = _claimed(draft, done)
        if (
            not done
            or text.count("\n") > MAX_LINES
            or len(max(text.split("\n"), key=len)) > MAX_COLUMNS
        ):
            return None
        parents = tuple(dict.fromkeys([request.parent.digest, *lenders]))
        return Proposal(text, self.name, "; ".join(done), parents)

    def _edit(
        self, draft: Draft, request: ProposalRequest, rng: random.Random
    ) -> tuple[str | None, str | None]:
        """One edit that found a place, with the digest of the member it borrowed from."""
        inside, weights = zip(*_INSIDE, strict=True)
        for _ in range(DRAWS):
            if rng.random() < _SPLICES / (_SPLICES + sum(weights)):
                change, lender = self._borrow(draft, request, rng)
            else:
                change, lender = rng.choices(inside, weights)[0](draft, rng), None
            if change:
                return change, lender
        return None, None

    def _borrow(
        self, draft: Draft, request: ProposalRequest, rng: random.Random
    ) -> tuple[str | None, str | None]:
        """Take a hook or an expression of another member, or of a donor."""
        pool: Sequence[tuple[str, dict[str, float], str | None]] = [
            *((m.text, dict(m.parameters), m.digest) for m in request.others),
            *((text, {}, None) for text in self.donors),
        ]
        if not pool:
            return None, None
        text, parameters, digest = rng.choice(pool)
        donor = Draft.read(text, parameters)
        return _splice(draft, donor, rng), digest

    def _move_constants(self, request: ProposalRequest, rng: random.Random) -> Proposal | None:
        """The parent with one to three constants elsewhere in their ranges: nothing to compile."""
        parent = request.parent
        axes = axes_of(parent.program.tunables)
        if not axes:
            return None
        chosen = rng.sample(axes, min(len(axes), rng.choice((1, 2, 3))))
        parameters = dict(parent.parameters)
        for axis in chosen:
            place = axis.to_unit(parameters[axis.name]) + rng.gauss(0.0, 0.25)
            parameters[axis.name] = axis.to_value(place)
        idea = "moved " + ", ".join(f"{a.name} to {parameters[a.name]:g}" for a in chosen)
        return Proposal(parent.text, self.name, idea, (parent.digest,), parameters)


def _splice(draft: Draft, donor: Draft, rng: random.Random) -> str | None:
    """Graft from the donor in the first of three ways, in random order, that finds a place."""
    for way in rng.sample((_take_hook, _blend, splice.graft_somewhere), 3):
        change = way(draft, donor, rng)
        if change is not None:
            return change
    return None


def _take_hook(draft: Draft, donor: Draft, rng: random.Random) -> str | None:
    hooks = splice.hooks_to_take(draft, donor)
    if not hooks:
        return None
    hook = rng.choice(hooks)
    splice.take_hook(draft, donor, hook)
    return f"took {hook} from: {_first_sentence(donor.claim)}"


def _blend(draft: Draft, donor: Draft, rng: random.Random) -> str | None:
    hooks = [h for h in ("route", "route_decode") if h in draft.functions and h in donor.functions]
    return splice.blend_routes(draft, donor, rng.choice(hooks), rng) if hooks else None


def _claimed(draft: Draft, done: Sequence[str]) -> str:
    """The text, its docstring saying where it comes from and what was changed last."""
    root = _first_sentence(draft.claim)
    draft.claim = f"{root}. Changed: {'; '.join(done)}."
    return draft.text()


def _first_sentence(claim: str) -> str:
    return " ".join(claim.split(". ")[0].split()).rstrip(".")[:120]
