"""Machine code that goes over all rows for a decision, for hosts that have llvmlite.

It does within a microsecond what `refreshing` and `outstanding` do through numpy in many. It is
built from LLVM's own instructions, so it needs no compile process and no cache: the first table of
a process waits some 20 ms for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from serving_adapter.instance_rows import ROW_WORDS, WORD, WORD_BYTES
from serving_adapter.seen_rows import AGE_WORDS, CHANGE_WORDS

if TYPE_CHECKING:
    from llvmlite import ir

    Value: TypeAlias = ir.Value

Word = ctypes.c_int64

DESK = ("rows", "n_rows", "since_s", "changed", "counted", "now_s", "log", "n_logged", "room")
"""The words `refresh` is called with: addresses, numbers, and the time as a float64.

`n_logged` is counted up here, over `room` as well, where nothing is written any more.
"""

_log = logging.getLogger("evolver.host")
_kept: list[object] = []  # who frees an engine frees its code


class RowCode(NamedTuple):
    """Functions in machine code.

    Attributes:
        refresh: brings rows up to a decision; takes the address of a desk.
        least_outstanding: the built-in default; takes the address of rows, how many there are, and
            the position of the one whose turn it is among equals; the id of a row.
    """

    refresh: Callable[[Word], None]
    least_outstanding: Callable[[Word, Word, Word], int]


@functools.cache
def row_code() -> RowCode | None:
    """The code; None where it cannot be had.

    It keeps Python's lock: to give that away and get it back can take milliseconds.
    """
    if importlib.util.find_spec("llvmlite") is None:
        return None
    try:
        return _linked()
    # Whatever is wrong with this LLVM, or with making code here at all, costs time and no decision.
    except Exception as error:
        _log.warning("decisions take longer here, without machine code for rows: %s", error)
        return None


def _linked() -> RowCode:
    """Raises OSError where memory may not become code; to call what was put there would crash."""
    from llvmlite import binding

    binding.check_jit_execution()
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    module = binding.parse_assembly(str(_Code().module))
    machine = binding.Target.from_default_triple().create_target_machine(opt=3)
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    _kept.append(engine)
    refresh, least = (engine.get_function_address(name) for name in RowCode._fields)
    return RowCode(ctypes.PYFUNCTYPE(None)(refresh), ctypes.PYFUNCTYPE(Word)(least))


class _Code:
    """Builds the module; every address is a number of bytes, as it is on the desk."""

    def __init__(self) -> None:
        from llvmlite import ir

        self._ir = ir
        self._int, self._float, self._byte = ir.IntType(64), ir.DoubleType(), ir.IntType(8)
        self.module = ir.Module("rows")
        self._refresh(*self._function("refresh", ir.VoidType(), 1))
        self._least_outstanding(*self._function("least_outstanding", self._int, 3))

    def _function(self, name: str, answer: Any, n_words: int) -> Sequence[Value]:  # noqa: ANN401
        """The arguments of a new function, whose instructions come next."""
        kind = self._ir.FunctionType(answer, [self._int] * n_words)
        function = self._ir.Function(self.module, kind, name)
        self._b = self._ir.IRBuilder(function.append_basic_block())
        arguments: Sequence[Value] = function.args
        return arguments

    def _least_outstanding(self, rows: Value, n_rows: Value, turn: Value) -> None:
        """What `outstanding.least` does: from the one whose turn it is, the first with fewest."""
        b, zero = self._b, self._number(0)
        fewest, found = b.alloca(self._int), b.alloca(self._int)
        b.store(self._number(2**63 - 1), fewest)
        with self._each(n_rows) as step:
            at = b.add(turn, step)
            at = b.select(b.icmp_signed("<", at, n_rows), at, b.sub(at, n_rows))
            row, waiting = self._place(rows, at, ROW_WORDS * WORD_BYTES), zero
            for name in ("queued_requests", "running_requests"):
                count = self._load(self._int, row, WORD[name])
                waiting = b.add(waiting, b.select(b.icmp_signed(">", count, zero), count, zero))
            with b.if_then(b.icmp_signed("<", waiting, b.load(fewest))):
                b.store(waiting, fewest)
                b.store(self._load(self._int, row, WORD["id"]), found)
        b.ret(b.load(found))

    def _refresh(self, desk: Value) -> None:
        read = {name: self._load(self._int, desk, at) for at, name in enumerate(DESK)}
        now_s = self._load(self._float, desk, DESK.index("now_s"))
        with self._each(read["n_rows"]) as at:
            row = self._place(read["rows"], at, ROW_WORDS * WORD_BYTES)
            since = self._place(read["since_s"], at, AGE_WORDS * WORD_BYTES)
            self._ages(row, since, now_s)
            changed = self._place(read["changed"], at, 1)
            with self._b.if_then(self._is_set(changed), likely=False):
                self._derive(row, read["counted"])
                self._store(self._byte(0), changed)
                self._note(desk, at, since, row)
        self._b.ret_void()

    def _ages(self, row: Value, since: Value, now_s: Value) -> None:
        """What `seen_rows.Ages` does; a time that is NaN stays NaN."""
        for at, name in enumerate(("signal_age_s", "oldest_wait_s")):
            since_s = self._load(self._float, since, at)
            later = self._b.fcmp_ordered(">", since_s, now_s)
            self._store(self._b.fsub(now_s, self._b.select(later, now_s, since_s)), row, WORD[name])

    def _derive(self, row: Value, counted: Value) -> None:
        """What `instance_rows.derive_all` does."""
        b, unknown = self._b, self._float(math.nan)
        running, context, used = (
            self._load(self._int, row, WORD[name])
            for name in ("running_requests", "context_tokens", "kv_used_tokens")
        )
        remaining, base_s, per_seq_s, per_context_s = (
            self._load(self._float, row, WORD[name])
            for name in ("predicted_remaining_tokens", "step_base_s", "step_per_seq_s",
                         "step_per_context_s")
        )  # fmt: skip
        one = self._number(1)
        batch = self._real(b.select(b.icmp_signed(">", running, one), running, one))
        step_s = b.fadd(base_s, b.fmul(per_seq_s, self._real(running)))
        step_s = b.fadd(step_s, b.fmul(per_context_s, self._real(context)))
        is_counted = b.icmp_signed("!=", counted, self._number(0))
        mean = b.select(is_counted, b.fdiv(self._real(context), batch), unknown)
        known = b.icmp_signed(">=", used, self._number(0))
        predicted = b.select(known, b.fadd(self._real(used), remaining), unknown)
        self._store(mean, row, WORD["mean_context_tokens"])
        self._store(b.fdiv(batch, step_s), row, WORD["decode_tokens_per_s"])
        self._store(predicted, row, WORD["kv_predicted_tokens"])

    def _note(self, desk: Value, at: Value, since: Value, row: Value) -> None:
        """What `refreshing.Refresher` does where there is no such code."""
        b, place = self._b, DESK.index("n_logged")
        logged = self._load(self._int, desk, place)
        self._store(b.add(logged, self._number(1)), desk, place)
        with b.if_then(b.icmp_signed("<", logged, self._load(self._int, desk, DESK.index("room")))):
            log = self._load(self._int, desk, DESK.index("log"))
            entry = self._place(log, logged, CHANGE_WORDS * WORD_BYTES)
            self._store(at, entry)
            for word in range(AGE_WORDS):
                self._store(self._load(self._int, since, word), entry, 1 + word)
            for word in range(ROW_WORDS):
                self._store(self._load(self._int, row, word), entry, 1 + AGE_WORDS + word)

    @contextlib.contextmanager
    def _each(self, count: Value) -> Iterator[Value]:
        """A loop over 0 .. count - 1."""
        b, before = self._b, self._b.block
        head, body, after = (b.append_basic_block() for _ in range(3))
        b.branch(head)
        b.position_at_end(head)
        at = b.phi(self._int)
        at.add_incoming(self._number(0), before)
        b.cbranch(b.icmp_signed("<", at, count), body, after)
        b.position_at_end(body)
        yield at
        at.add_incoming(b.add(at, self._number(1)), b.block)
        b.branch(head)
        b.position_at_end(after)

    def _number(self, value: int) -> Value:
        return self._int(value)

    def _real(self, whole: Value) -> Value:
        return self._b.sitofp(whole, self._float)

    def _place(self, start: Value, at: Value, size: int) -> Value:
        return self._b.add(start, self._b.mul(at, self._number(size)))

    def _is_set(self, place: Value) -> Value:
        return self._b.icmp_unsigned("!=", self._load(self._byte, place), self._byte(0))

    def _load(self, kind: Any, start: Value, word: int = 0) -> Value:  # noqa: ANN401 - LLVM's
        return self._b.load(self._pointer(kind, start, word))

    def _store(self, value: Value, start: Value, word: int = 0) -> None:
        self._b.store(value, self._pointer(value.type, start, word))

    def _pointer(self, kind: Any, start: Value, word: int) -> Value:  # noqa: ANN401 - LLVM's
        place = self._b.add(start, self._number(WORD_BYTES * word))
        return self._b.inttoptr(place, kind.as_pointer())
