"""Nightly: runs that are killed at random moments end as if they had never been interrupted.

    python tests/evolver/interruptions.py --runs 20 --serving 2

`--runs` are searches among toy candidates, killed while they keep a random batch of rows;
`--serving` are runs of `evolver evolve` on a generated trace, killed at random times.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import interrupted

from policy_store import PolicyStore
from telemetry import generate, load_profile

PROGRAM = [sys.executable, "-c", "import sys; from evolver.cli import main; sys.exit(main())"]
ROOT = Path(__file__).resolve().parents[2]
MOST_KILLS = 6


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--serving", type=int, default=1)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        toys(Path(folder), rng, options.runs)
        for number in range(options.serving):
            serving(Path(folder) / f"serving-{number}", rng)


def toys(folder, rng, runs):
    """Toy runs, each killed up to `MOST_KILLS` times."""
    code, run = interrupted.in_a_process(folder / "whole.db", "-", 0)
    expect(code == 0, f"the uninterrupted run ended with {code}")
    with PolicyStore.open(folder / "whole.db") as store:
        whole = interrupted.told(store, run)
    for number in range(runs):
        kills = [rng.randrange(2, 60) for _ in range(rng.randrange(1, MOST_KILLS))]
        path, run = folder / f"{number}.db", "-"
        for kill_at in [*kills, 0]:
            code, run = interrupted.in_a_process(path, run, kill_at)
            if code == 0:
                break
            expect(code == -signal.SIGKILL, f"after kills at {kills}: exit code {code}")
        with PolicyStore.open(path) as store:
            expect(interrupted.told(store, run) == whole, f"kills at {kills} changed the run")
        print(f"run {number + 1} of {runs}: killed while keeping batches {kills}, the same end")


def serving(home, rng):
    """A run of the command on a generated trace, killed at random times."""
    home.mkdir()
    trace = home / "trace.npz"
    generate(load_profile("azure2023_conv"), n=600, seed=5).save(trace)
    begin = [str(trace), "--seed", "1", "--budget-evaluations", "40"]
    whole, took_s = evolved(home / "whole", begin)
    kills = []
    command = begin
    while len(kills) < MOST_KILLS:
        kills.append(rng.uniform(0.1, 0.9) * took_s)
        found, _ = evolved(home / "killed", command, kills[-1])
        if found is not None:
            break
        if (home / "killed").exists() and interrupted_runs(home / "killed"):
            command = ["--resume", "last"]
    found = found or evolved(home / "killed", command)[0]
    expect(found == whole, f"kills after {kills} s changed the run")
    print(f"serving run: killed after {', '.join(f'{s:.1f} s' for s in kills)}, the same end")


def evolved(home, arguments, kill_after_s=None):
    """What a run printed and recorded, and the seconds it took; None when it was killed."""
    env = {**os.environ, "EVOLVER_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [*PROGRAM, "evolve", *arguments, "-o", "json"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            out, _ = process.communicate(timeout=kill_after_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return None, kill_after_s
    expect(process.returncode == 0, f"{' '.join(arguments)} ended with {process.returncode}")
    document = json.loads(out)
    with PolicyStore.open(store_of(home)) as store:
        events, results = interrupted.told(store, document["run"])
    seconds = document["seconds"]
    shown = {k: v for k, v in document.items() if k not in ("seconds", "run")}
    return (shown, events, results), seconds


def store_of(home):
    (path,) = home.glob("*.db")
    return path


def interrupted_runs(home):
    """Runs that were begun there."""
    if not list(home.glob("*.db")):
        return []
    with PolicyStore.open(store_of(home)) as store:
        return store.runs.list_runs()


def expect(holds, complaint):
    if not holds:
        sys.exit(complaint)


if __name__ == "__main__":
    main()
