"""Every error that the serving adapter raises on purpose.

    AdapterError
    |- BadBody             a request body that is no OpenAI request: answered with 400
    |- PolicyUnusable      a policy that does not load, or fails its smoke test: the old one stays
    |- SnapshotRefused     a snapshot older than one seen, ejected before, or not what it says
    |  `- SignalsLacking   its policy was proved with signals that this host's door does not have
    |- StateUnusable       what a host has to remember over restarts cannot be read or written
    |- SideProcessError    the side process gave no decision; the default decides this request
    |  |- SideProcessSlow  not within the deadline
    |  |- SideProcessAway  still busy with an earlier request, or being replaced
    |  `- SideProcessDied  it ended, or answered what no side process answers
    |- EngineFailed        an engine that gave no answer before the first byte: another may be tried
    |- FleetError          an emulated engine that did not start or stop
    |- LoadRefused         a load replay that is not bounded, or not aimed at this machine
    |- PlanRefused         a plan that cannot be carried out from here: nothing has been touched
    `- ReplicaError        a replica that did not start, was not ready in time or could not be asked

Each message is one sentence that says what happened, then what to do next; none quotes a request.
"""


class AdapterError(Exception):
    """Root of the tree; catching it catches everything the adapter raises on purpose."""


class BadBody(AdapterError):
    """The body is no JSON object, or a field has a type the API does not have."""


class PolicyUnusable(AdapterError):
    """The policy was refused by the verifier, did not compile, or failed its smoke test."""


class SnapshotRefused(AdapterError):
    """The snapshot may not go live on this host."""


class SignalsLacking(SnapshotRefused):
    """A policy was proved with signals that this host's door does not have."""


class StateUnusable(AdapterError):
    """The host's state folder is damaged or cannot be written, so no snapshot is admitted."""


class SideProcessError(AdapterError):
    """A policy in a process of its own did not decide; its decision is the default's this time."""


class SideProcessSlow(SideProcessError):
    """No answer within the deadline.

    Attributes:
        busy_s: processor time that the process spent on this request; far below the deadline when
            it was the system that did not let it run.
    """

    def __init__(self, message: str, *, busy_s: float = 0.0) -> None:
        super().__init__(message)
        self.busy_s = busy_s


class SideProcessAway(SideProcessError):
    """Nobody to ask just now; the miss or the death that began it has been reported already."""


class SideProcessDied(SideProcessError):
    """The process ended by itself, by a signal, or because it broke the protocol.

    Attributes:
        final: no successor is being started, because it is the second death in a short time.
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class EngineFailed(AdapterError):
    """The engine refused the connection, broke it, or answered 5xx before the first byte.

    Attributes:
        unreachable: no connection could be made, so it is pointless to send it more.
    """

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable


class FleetError(AdapterError):
    """An emulated engine did not come up in time, or is gone."""


class LoadRefused(AdapterError):
    """The load replay is too large, too long, or aimed at another machine."""


class PlanRefused(AdapterError):
    """The plan does not suit this fleet, or another one is under way; nothing has been touched."""


class ReplicaError(AdapterError):
    """One step of a plan failed; what it started is taken back and the former plan serves on."""


def defect(error: BaseException) -> str:
    """What failed and in which function, without the error's words: they may quote a request."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = place.tb_frame.f_code.co_qualname if place else "?"
    return f"{type(error).__name__} in {where}"
