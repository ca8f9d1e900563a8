"""Proposes better policies: proposers, archive, tuner, the loop that joins them, the command line.

Reading guide:

1. `loop`: `Search.generation` is the whole idea; `task` and `proposer` are the two protocols that
   it stands on, so that it knows nothing of serving and nothing of models.
2. `candidates`: texts in, verified novelties out, asked for by `bandit`; `cascade`: how far up each
   one climbs; `evaluation` and `budget`: scores, and what they may cost; `archive`: who is kept,
   and who has children; `founders`: whom to beat; `lessons`: what proposers hear of it all.
3. `finals` and `selection`: how one winner is chosen, and proved once on windows nobody has seen.
4. `mutator` (with `draft`, `edits`, `insertions`, `splice`), `tuner` and `models` (with `prompt`,
   `model_endpoint`, `reply`, `diff_reply`): the proposers.
5. `journal`, `record` and `history`: what happened, kept so that an interrupted run goes on.
6. `evolution`: `evolve` puts a run on a trace together; `problem` is what it searches on,
   `serving_task` its `Task`, `veterans` what it knows from earlier runs, `dossier` the evidence
   that the store keeps.

`library` holds the policies that people wrote, `cli` the commands.

    result = evolve(Problem(trace, cluster, load), Limits(seconds=60), store)
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evolver.budget import Limits
    from evolver.errors import EvolverError
    from evolver.evolution import Evolution, evolve
    from evolver.loop import RunResult, Search, SearchSettings
    from evolver.problem import Problem
    from evolver.proposer import Proposal, ProposalRequest, Proposer
    from evolver.task import Human, Split, Task
    from evolver.verdict import Verdict

__all__ = [
    "Evolution",
    "EvolverError",
    "Human",
    "Limits",
    "Problem",
    "Proposal",
    "ProposalRequest",
    "Proposer",
    "RunResult",
    "Search",
    "SearchSettings",
    "Split",
    "Task",
    "Verdict",
    "evolve",
]

_HOMES = {
    "Evolution": "evolution",
    "EvolverError": "errors",
    "Human": "task",
    "Limits": "budget",
    "Problem": "problem",
    "Proposal": "proposer",
    "ProposalRequest": "proposer",
    "Proposer": "proposer",
    "RunResult": "loop",
    "Search": "loop",
    "SearchSettings": "loop",
    "Split": "task",
    "Task": "task",
    "Verdict": "verdict",
    "evolve": "evolution",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
