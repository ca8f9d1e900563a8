"""A run that kills itself: `interrupted.py STORE RUN KILL_AT` goes on with RUN, `-` begins one.

It dies by SIGKILL in the middle of keeping its KILL_AT-th batch of rows: an odd one is lost with
it, an even one is kept. With 0 it goes on to the end. A fourth argument is the size in bytes that
no file may grow beyond, as on a disk that is full. Prints the run's id.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "sandbox"), str(HERE.parents[1])]

from mishaps import HUMANS, mishap_pool, search_with  # noqa: E402

from evolver.budget import Limits  # noqa: E402
from evolver.loop import Memory  # noqa: E402
from evolver.record import RunRecord  # noqa: E402
from evolver.run_start import RunStart, Writers  # noqa: E402
from policy_store import PolicyStore  # noqa: E402
from policy_store.errors import StoreUnavailable  # noqa: E402

EVALUATIONS, REFUSED = 24, 3
WORDS = ("exit", "nan", "refuse")


def kill_in_mid_write(store, number):
    """SIGKILL to this process before (odd) or after (even) rows of a number are written."""
    append, count = store.runs.append_events, 0

    def append_or_die(*arguments, **options):
        nonlocal count
        count += 1
        if count == number and number % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        last = append(*arguments, **options)
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return last

    store.runs.append_events = append_or_die


def run(store, run_id, workers=2):
    """Begin or go on with a run; its result."""
    if run_id == "-":
        start = RunStart(Limits(evaluations=EVALUATIONS), HUMANS, Memory(), Writers(), {})
        record = RunRecord.begin(store, start)
    else:
        record = RunRecord.resume(store, run_id)
    print(record.run, flush=True)
    with record, mishap_pool(workers) as pool:
        options = {"history": record.history, "keep": record.on_results}
        result = search_with(pool, WORDS, EVALUATIONS, (record,), **options).run()
        record.finish(result, None)
    return result


def in_a_process(store, run_id, kill_at, *most_bytes):
    """The same in a process of its own; how it ended, and the run's id."""
    command = [sys.executable, __file__, str(store), run_id, str(kill_at), *map(str, most_bytes)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300)
    return done.returncode, done.stdout.strip()


def told(store, run_id):
    """What a run's record says: its events in order without their times, and its results."""
    rows = store.runs.events(run_id)
    plain = [{"kind": row.kind, **row.payload, "seconds": 0} for row in rows]
    results = sorted(json.dumps(row) for row in plain if row["kind"] == "result")
    return [row for row in plain if "generation" in row], results


if __name__ == "__main__":
    with PolicyStore.open(sys.argv[1]) as opened:
        kill_in_mid_write(opened, int(sys.argv[3]))
        for most_bytes in map(int, sys.argv[4:]):
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        try:
            run(opened, sys.argv[2])
        except StoreUnavailable:
            sys.exit(REFUSED)
