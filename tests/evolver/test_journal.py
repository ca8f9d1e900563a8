"""The journal: what its events hold is what its module says that they hold."""

import re

from evolver import journal
from evolver.budget import Limits
from evolver.errors import ReplyUnusable
from evolver.journal import EventKind, EventList
from evolver.loop import Search


class Mixed:
    """Writes nonsense, nothing at all, and what the other would, in turn."""

    name, waits = "mixed", False

    def __init__(self, other):
        self.other, self.calls = other, 0

    def propose(self, request):
        self.calls += 1
        if self.calls % 5 == 0:
            raise ReplyUnusable("No policy in it: name another model.", "words", "no policy")
        return self.other.propose(request)


def described():
    """Words of the paragraph about each kind of event."""
    kinds = "|".join(kind.value for kind in EventKind)
    parts = re.split(rf"\n    ({kinds}) ", journal.__doc__.partition("\n\n`candidate`")[0])
    texts = zip(parts[1::2], parts[2::2], strict=True)
    return {kind: set(re.findall(r"\w+", text)) for kind, text in texts}


def test_every_field_of_every_event_is_described(bowls, lines, humans):
    log, known = EventList(), described()
    Search(bowls(), [Mixed(lines)], humans, Limits(evaluations=80), sinks=[log]).run()
    same = {"tuned", "human_scored"}  # said to hold what another holds
    assert set(known) == {kind.value for kind in EventKind}
    assert {event.kind for event in log.events} >= set(EventKind) - {EventKind.PROPOSER_FAILED}
    for event in log.events:
        beside = known["candidate_scored"] if event.kind in same else set()
        assert set(event.data) <= known[event.kind] | beside
