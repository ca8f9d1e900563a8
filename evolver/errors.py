"""What can go wrong in the evolver, each as one sentence plus what to do next.

EvolverError
  BudgetTooSmall    the budget does not even cover the humans and the proof
  NothingToStartFrom   no human policy survives verification and evaluation
  RecordStale       a recorded run or recorded answers do not fit what is run now
  DaemonSetupWrong  a daemon's configuration, or what it needs here, does not fit
  ExperimentRefused  the online experiment cannot run as it was asked for
  ProposerFailed    a proposer could not answer (endpoint down, slow, babbling, out of money)
"""

from evolver.proposer import Cost


class EvolverError(Exception):
    """Base of every error raised by this package."""


class BudgetTooSmall(EvolverError):
    """The budget cannot pay for the human policies and for the proof of one winner."""


class NothingToStartFrom(EvolverError):
    """No human policy could be verified and scored, so nothing can be compared with."""


class RecordStale(EvolverError):
    """A record was made by another version, or for other inputs."""


class DaemonSetupWrong(EvolverError):
    """A configuration that no daemon can run on."""


class ExperimentRefused(EvolverError):
    """Pairs, traces or options of an experiment that do not fit; says what to change."""


class ProposerFailed(EvolverError):
    """A proposer gave no candidate; the loop counts it and its `cost`, and goes on."""

    cost: Cost = Cost()


class ReplyUnusable(ProposerFailed):
    """An answer came, but no single candidate can be read in it; it may be asked to mend that.

    Attributes:
        reply: what came.
        flaw: what is wrong with it, as part of a sentence.
    """

    def __init__(self, message: str, reply: str, flaw: str) -> None:
        super().__init__(message)
        self.reply = reply
        self.flaw = flaw
