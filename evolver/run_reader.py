"""Reads the rows of a stored run, whatever version wrote them, into a `RunHistory`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from evolver.archive import HUMAN, VETERAN
from evolver.journal import EventKind
from evolver.recorded_rows import EXCHANGE
from evolver.run_history import (
    Arm,
    Call,
    Finalist,
    Rejected,
    Row,
    RunHistory,
    Scored,
    Spent,
    Step,
    items,
    mapping,
    number,
    number_or_none,
    words,
)
from evolver.task import Split
from policy_store.records import Run

Data = Mapping[str, object]


def read_history(run: Run, rows: Iterable[Row]) -> RunHistory:
    """The history that the rows of a run tell, in the order they were written."""
    reader = Reader(run)
    for row in rows:
        reader.take(row)
    return reader.history


class Reader:
    """Takes the rows of a run one by one: `history` is what they told so far."""

    def __init__(self, run: Run) -> None:
        self.history = RunHistory(run)
        self._spent = Spent()
        self._evaluation_cost = 0.0
        self._cost = 0.0
        self._seen: set[int] = set()
        self._members: dict[str, Scored] = {}
        self._leader: Scored | None = None
        self._takers: dict[str, Callable[[Data], None]] = {
            EventKind.RUN_STARTED: self._started,
            EventKind.HUMAN_SCORED: self._human,
            EventKind.CANDIDATE_REFUSED: self._refused,
            EventKind.CANDIDATE_UNUSABLE: self._unusable,
            EventKind.CANDIDATE_DUPLICATE: self._twin,
            EventKind.PROPOSER_FAILED: self._failed,
            EventKind.CANDIDATE_DROPPED: self._dropped,
            "candidate_screened": self._screened,
            EventKind.EVALUATED: self._evaluated,
            EventKind.ANSWERED: self._answered,
            EventKind.CANDIDATE_SCORED: self._scored,
            EventKind.TUNED: self._tuned,
            EventKind.GENERATION_DONE: self._generation,
            EventKind.FINALIST: self._finalist,
            EventKind.CANDIDATE_CHOSEN: self._chosen,
            EventKind.SEALED_OPENED: self._sealed,
            EventKind.RUN_FINISHED: self._finished,
            EXCHANGE: self._exchange,
        }

    def take(self, row: Row) -> None:
        """One row; an event that a resumed run wrote once more counts once."""
        taker = self._takers.get(row.kind)
        if taker is None:
            return
        data = row.payload
        if row.kind != EXCHANGE:
            place = number_or_none(data.get("sequence"))
            if place is not None:
                if int(place) in self._seen:
                    return
                self._seen.add(int(place))
            self._passed(row)
        taker(data)
        self.history.spent = self._spent

    def _passed(self, row: Row) -> None:
        """Time moves with events; before they said so, with the rows."""
        seconds = number_or_none(row.payload.get("seconds"))
        if seconds is None:
            seconds = (row.at - self.history.run.started_at).total_seconds()
        self._spent = replace(self._spent, seconds=max(seconds, self._spent.seconds))

    def _started(self, data: Data) -> None:
        self.history.title = words(data.get("title"))
        self.history.objective = words(data.get("objective"))
        windows = mapping(data.get("windows"))
        order = [split.value for split in Split if split.value in windows]
        units = mapping(data.get("units"))  # repeats and variants of a window are one
        self.history.windows = {
            split: int(number_or_none(units.get(split)) or len(items(windows[split])))
            for split in order
        }
        self._evaluation_cost = number(data.get("evaluation_cost"))

    def _evaluated(self, data: Data) -> None:
        """The proof is paid for beside the search."""
        if self._evaluation_cost > 0 and data.get("rung") not in (Split.VALIDATION, Split.SEALED):
            self._cost += number(data.get("cost"))
            evaluations = self._cost / self._evaluation_cost
            self._spent = replace(self._spent, evaluations=evaluations)

    def _member(self, data: Data, **more: object) -> Scored:
        score = number_or_none(data.get("score"))
        parameters = mapping(data.get("parameters"))
        known = Scored(
            digest=words(data.get("candidate")),
            name=words(data.get("name")) or words(data.get("candidate"))[:8],
            proposer=words(data.get("arm")) or words(data.get("proposer")) or "unknown",
            idea=words(data.get("idea")),
            parents=tuple(words(parent) for parent in items(data.get("parents"))),
            score=float("inf") if score is None else score,
            parent_score=number_or_none(data.get("parent_score")),
            fault=words(data.get("fault")),
            text=words(data.get("text")),
            parameters={key: number(value) for key, value in parameters.items()},
            generation=int(number(data.get("generation"))),
            spent=self._spent,
        )
        return replace(known, **more)  # type: ignore[arg-type]  # names of fields

    def _human(self, data: Data) -> None:
        """The curve begins with the best of them: who comes first says nothing."""
        if data.get("proposer") == VETERAN:
            self._lead(self._member(data), self.history.scored)
            return
        active = data.get("active") is True
        before = len(self.history.curve)
        self._lead(self._member(data, proposer=HUMAN, active=active), self.history.baselines)
        del self.history.curve[: len(self.history.curve) - 1 if before else 0]

    def _scored(self, data: Data) -> None:
        member = self._member(data)
        parent = self._parent(member)
        if member.parent_score is None and parent is not None:
            member = replace(member, parent_score=parent.score)
        if member.generation == 0 and parent is not None and parent.human:
            self.history.tuning_tries += 1
            self._lead(replace(member, name=f"{parent.name}, tuned"), self.history.tuning)
        else:
            self._lead(member, self.history.scored)

    def _tuned(self, data: Data) -> None:
        """Before the first generation it is what people wrote that gets tuned."""
        before = number_or_none(data.get("score_before"))
        member = self._member(data, parent_score=before)
        member = replace(member, tuned_from=(member.parents or ("unknown",))[0])
        parent = self._parent(member)
        if parent is not None and parent.human:
            name = f"{words(data.get('of')) or parent.name}, tuned"
            self._lead(replace(member, proposer=HUMAN, name=name), self.history.baselines)
        else:
            self._lead(replace(member, proposer="tuner"), self.history.scored)

    def _parent(self, member: Scored) -> Scored | None:
        return self._members.get(member.parents[0]) if member.parents else None

    def _lead(self, member: Scored, among: list[Scored]) -> None:
        among.append(member)
        self._members.setdefault(member.digest, member)
        ahead = self._leader is None or member.score < self._leader.score
        if ahead and not member.fault:
            self._leader = member
        if self._cost > 0 or not self.history.scored:
            self._step(member)

    def _answered(self, data: Data) -> None:
        """What answers cost; those still awaited may be known already from their exchanges."""
        tokens, price_usd = int(number(data.get("tokens"))), number(data.get("price_usd"))
        spent = self._spent
        self._spent = replace(
            spent, tokens=max(spent.tokens, tokens), price_usd=max(spent.price_usd, price_usd)
        )

    def _step(self, member: Scored) -> None:
        """A new leader makes a step; where chunks were not recorded, a generation's end does."""
        curve = self.history.curve
        if member.fault or (curve and member.score >= curve[-1].score):
            return
        curve.append(Step(self._spent, member.score, member.name, member.generation))

    def _generation(self, data: Data) -> None:
        history = self.history
        history.generations = max(history.generations, int(number(data.get("generation"))))
        self._answered(data)
        if not self._cost:
            self._spent = replace(self._spent, evaluations=number(data.get("evaluations")))
        best, human = number(data.get("best_score")), number(data.get("best_human_score"))
        history.ahead = 1.0 - best / human if best > 0 and human > 0 else history.ahead
        known = {name: mapping(arm) for name, arm in mapping(data.get("arms")).items()}
        history.arms = {name: _arm(arm) for name, arm in known.items()} or history.arms
        if (leader := self._leader) is not None:
            step = Step(self._spent, leader.score, leader.name, history.generations)
            history.curve.append(step)

    def _reject(self, data: Data, kind: str, code: str, reason: str) -> None:
        """Before the first generation only constants of human policies are tried."""
        if "generation" in data and not data["generation"] and data.get("proposer") != HUMAN:
            self.history.tuning_tries += 1
            return
        self.history.rejected.append(
            Rejected(
                kind,
                code,
                reason,
                words(data.get("proposer")) or "unknown",
                words(data.get("idea")),
                words(data.get("text")),
                int(number(data.get("generation"))),
                words(data.get("ask")),
            )
        )

    def _refused(self, data: Data) -> None:
        refusals = [mapping(refusal) for refusal in items(data.get("refusals"))]
        first = refusals[0] if refusals else {}
        line = f"line {int(number(first.get('line')))}: " if first.get("line") else ""
        said = f"{line}{words(first.get('reason'))} {words(first.get('mend'))}".strip()
        self._reject(data, "refused", words(first.get("code")) or "unknown", said)

    def _unusable(self, data: Data) -> None:
        self._reject(data, "unusable", "no policy in the answer", words(data.get("reason")))

    def _twin(self, data: Data) -> None:
        how = words(data.get("how")) or "text"
        code = "decides the same" if how == "behaviour" else "same text"
        twin = words(data.get("twin"))
        self._reject(data, "twin", code, f"{code} as {twin}" if twin else code)

    def _failed(self, data: Data) -> None:
        self._reject(data, "failed", "proposer gave nothing", words(data.get("reason")))

    def _dropped(self, data: Data) -> None:
        reason, rung = words(data.get("reason")), words(data.get("rung"))
        score, bar = number_or_none(data.get("score")), number_or_none(data.get("bar"))
        held = f"{_change(score)} on {rung or 'the first windows'}" if score is not None else rung
        if reason == "fault":
            self._reject(data, "faulted", "failed when it ran", words(data.get("fault")))
        elif reason == "twin":
            self._reject(data, "twin", "decides the same", f"as one known before, on {rung}")
        elif reason == "budget":
            self._reject(data, "budget", "the budget ended", f"before it ran on {rung}")
        elif reason == "alike":
            self._reject(data, "alike", f"as its parent on {rung}", f"{held}, as its parent")
        else:
            asked = f", its parent {_change(bar)}" if bar is not None else ""
            self._reject(data, reason or "slower", f"dropped on {rung}", f"{held}{asked}")

    def _screened(self, data: Data) -> None:
        """How an older version said what was dropped."""
        if data.get("promoted") is not True:
            reason = "fault" if data.get("fault") else "slower"
            self._dropped({**data, "reason": reason, "rung": "the screen"})

    def _finalist(self, data: Data) -> None:
        name = words(data.get("name")) or words(data.get("candidate"))[:8]
        score, varied = number_or_none(data.get("score")), number_or_none(data.get("varied"))
        self.history.finalists.append(Finalist(name, score or float("inf"), varied))

    def _chosen(self, data: Data) -> None:
        self.history.chosen = words(data.get("candidate")) or None

    def _sealed(self, data: Data) -> None:
        del data
        self.history.sealed_opened = True

    def _finished(self, data: Data) -> None:
        self.history.outcome = dict(data)
        self.history.chosen = words(data.get("candidate")) or self.history.chosen

    def _exchange(self, data: Data) -> None:
        call = Call(
            model=words(data.get("model")) or "unknown",
            ask=words(data.get("ask")),
            tokens_in=int(number(data.get("tokens_in"))),
            tokens_out=int(number(data.get("tokens_out"))),
            price_usd=number(data.get("price_usd")),
            price_known=data.get("price_known") is True,
            seconds=number(data.get("seconds")),
            finish=words(data.get("finish")),
            error=words(data.get("error")),
        )
        self.history.calls.append(call)
        self._spent = replace(
            self._spent,
            tokens=self._spent.tokens + call.tokens_in + call.tokens_out,
            price_usd=self._spent.price_usd + call.price_usd,
        )


def _arm(data: Data) -> Arm:
    return Arm(
        int(number(data.get("asked"))),
        number(data.get("share")),
        number(data.get("evaluations")),
        int(number(data.get("tokens"))),
        number(data.get("price_usd")),
    )


def _change(score: float) -> str:
    return f"{score - 1.0:+.1%}"
