"""Runs many generated and mutated programs in several processes, and reports what went wrong.

    python tests/sandbox/fuzz.py --programs 20000 --compiled 3000

Each program is named by its seed, so that `--only SEED` runs it again. A process that crashes or
hangs is a finding of the program it was at; its seed is reported and the others go on.
"""

import argparse
import collections
import faulthandler
import json
import os
import secrets
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve()
BATCH, DEADLINE_S = 50, 300
CALLS = 3
SIZES, MUTANTS = (0, 0, 0, 1, 1, 2, 3), 0.15
BRIEF = "brief"  # seeds that begin so have short programs, which compile in an instant


def fresh_seed():
    """The seed of programs that differ from run to run; EVOLVER_FUZZ_SEED sets it."""
    return os.environ.get("EVOLVER_FUZZ_SEED") or secrets.token_hex(4)


def program(seed):
    """Hook and text of a seed's program: generated, or a mutant, which is often refused."""
    import mutations
    import program_generator
    import random_inputs

    rng = random_inputs.seeded(seed, "program")
    if seed.startswith(BRIEF):
        return program_generator.candidate(seed, 0)
    if rng.random() < MUTANTS:
        return mutations.mutant(rng)
    try:
        return program_generator.candidate(seed, rng.choice(SIZES))
    except IndexError:  # nothing of the kind it wanted is at hand
        return "route", ""


def one(seed, compiled=False):
    """Try one program: a dict with `end` (ok, refused or failed), and words about a failure."""
    import program_generator

    from sandbox.errors import PolicyRefused

    hook, text = program(seed)
    try:
        return judged(hook, text, seed, compiled)
    except PolicyRefused as refused:
        codes = {refusal.code for refusal in refused.refusals}
        expected = codes <= program_generator.TOO_MUCH
        if expected or not text.startswith(program_generator.HEAD):
            return {"end": "refused"}
        return {"end": "failed", "why": f"refused: {refused}", "text": text}


def judged(hook, text, seed, compiled):
    """Verify a text and try it.

    Raises:
        PolicyRefused: the verifier does not admit it.
    """
    import trials

    from sandbox.errors import PolicyRefused
    from sandbox.verifier import verify

    try:
        source = verify(text)
        if hook not in source.hooks:
            return {"end": "refused"}
        report = trials.tried(source, hook, seed, CALLS, compiled)
    except PolicyRefused:
        raise
    except Exception:
        # Whatever else is raised is a finding, wherever it comes from.
        why = " / ".join(traceback.format_exc().splitlines()[-3:])
        return {"end": "failed", "why": f"raised: {why}", "text": text}
    if report.violations:
        return {"end": "failed", "why": "; ".join(report.violations), "text": text}
    return {"end": "ok", "ends": dict(report.ends)}


def admitted(seed, compiled=False):
    """The first program from a seed on that the verifier admits, tried; `seed` is in the answer."""
    for attempt in range(1000):
        answer = one(f"{seed}.{attempt}", compiled)
        if answer["end"] != "refused":
            return {**answer, "seed": f"{seed}.{attempt}"}
    raise ValueError(f"no program of seed {seed} is admitted")


def smallest(found, compiled):
    """The text of a finding with everything removed that it does not need."""
    import shrinking

    from sandbox.errors import PolicyRefused

    hook, _ = program(found["seed"])

    def fails(text):
        try:
            answer = judged(hook, text, found["seed"], compiled)
        except PolicyRefused:
            return False
        return answer["end"] == "failed" and _kind(answer) == _kind(found)

    return shrinking.smallest(found["text"], fails)


def _kind(answer):
    return answer["why"].split(":")[0]


def batch(base, first, count, every):
    """Try programs in this process, a line of JSON before and after each."""
    faulthandler.enable()
    for place in range(first, first + count):
        compiled = bool(every) and place % every == 0
        print(json.dumps({"start": f"{base}-{place}"}), flush=True)
        started = time.process_time()
        answer = admitted(f"{base}-{place}", compiled)
        answer["compiled"], answer["seconds"] = compiled, time.process_time() - started
        if answer["end"] == "failed":
            answer["text"] = smallest(answer, compiled)
        print(json.dumps(answer), flush=True)


def run_batch(base, first, count, every):
    """A batch in a process of its own, which may crash or hang."""
    command = [sys.executable, str(HERE), "--seed", base]
    command += ["--batch", str(first), str(count), str(every)]
    root = str(HERE.parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DEADLINE_S, cwd=root, env=environment
        )
        output, end = done.stdout, done.returncode and f"ended with {done.returncode}"
        words = done.stderr[-2000:]
    except subprocess.TimeoutExpired as late:
        output, end, words = (late.stdout or b"").decode(), f"hung for {DEADLINE_S} s", ""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    answers = [line for line in lines if "end" in line]
    if end:
        seed = next((line["start"] for line in reversed(lines) if "start" in line), "none")
        why = f"process: {end} {words}"
        answers.append({"end": "failed", "seed": seed, "why": why, "text": ""})
        left = count - len(answers)
        if left > 0:
            answers += run_batch(base, first + len(answers), left, every)
    return answers


def main(arguments=None):
    """Run, print a table, and return how many programs failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=20_000)
    parser.add_argument("--compiled", type=int, default=3_000)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", default=None)
    parser.add_argument("--only", metavar="SEED", help="run this program alone")
    parser.add_argument("--batch", type=int, nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    base = given.seed or fresh_seed()
    if given.batch:
        batch(base, *given.batch)
        return 0
    if given.only:
        answer = one(given.only, compiled=True)
        print(json.dumps(answer, indent=1).replace("\\n", "\n"))
        return int(answer["end"] == "failed")
    every = given.programs // given.compiled if given.compiled else 0
    print(f"seed {base}: {given.programs} programs, one in {every} compiled", flush=True)
    firsts = range(0, given.programs, BATCH)
    with ThreadPoolExecutor(given.processes) as pool:
        tasks = [
            pool.submit(run_batch, base, first, min(BATCH, given.programs - first), every)
            for first in firsts
        ]
        answers = []
        for task in tasks:
            answers += told(task.result())
            print(f"\r{len(answers)} tried", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return table(answers)


def told(answers):
    """A batch's answers, its findings printed: a run that is stopped has said what it found."""
    for answer in answers:
        if answer["end"] == "failed":
            print(f"\nseed {answer['seed']}: {answer['why']}\n{answer['text']}", flush=True)
    return answers


def table(answers):
    """Print what came of it."""
    failed = [answer for answer in answers if answer["end"] == "failed"]
    ends = collections.Counter()
    for answer in answers:
        ends.update(answer.get("ends", {}))
    slowest = max((answer.get("seconds", 0.0), answer["seed"]) for answer in answers)
    print(f"programs  {len(answers)}")
    print(f"compiled  {sum(answer.get('compiled', False) for answer in answers)}")
    print(f"calls     {sum(ends.values())}")
    for end, count in sorted(ends.items()):
        print(f"  {'answered' if end == 'answer' else f'fault {end}':10s}{count}")
    print(f"slowest   {slowest[0]:.1f} s of CPU, seed {slowest[1]}")
    print(f"failed    {len(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
