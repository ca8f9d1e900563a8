"""Laws 5 and 7 on programs nobody wrote; and what such programs have found so far."""

import contextlib
import random

import fuzz
import pytest
import trials

from sandbox.errors import PolicyRefused
from sandbox.verifier import verify

# Of each part; the last one's seed is a fresh one. `make fuzz` tries a hundred times as many.
PARTS, PROGRAMS, COMPILED = 3, 200, 10

ROUTE = "def route(request, instances, memory):\n"
SCHEDULE = "def schedule(window, cluster, plan, new_plan, memory):\n"
TUNE = "def tune(instance, memory):\n"
FOUND = {
    "a power of 0 computes its base": ROUTE + "    return (1 // (len(memory) - 64)) ** 0\n",
    "len of a list computes the elements":
        ROUTE + "    return len([1 // (k - k) for k in range(2)])\n",
    "any of a list computes them all":
        ROUTE + "    return 1 if any([1 // (1 - k) > 0 for k in range(2)]) else 0\n",
    "all of a list computes them all":
        ROUTE + "    return 1 if all([1 // (1 - k) > 1 for k in range(2)]) else 0\n",
    "sorted copies floats": TUNE + "    memory[3] = 5.0\n"
        "    for i, v in enumerate(sorted(memory, key=lambda v: -v)):\n"
        "        memory[i] = 7.0\n        memory[63 - i] = v\n",
    "a share is seen where it lies": SCHEDULE + "    add_replica(new_plan, 0, 1, 1, MIXED)\n"
        "    share = new_plan.replicas[0].share\n    set_share(new_plan, 0, 1, 0.25)\n"
        "    memory[0] = share[1]\n",
    "a comparison that failed ends the chain":
        ROUTE + "    return 1 if 2 < 1 < max([k for k in range(2) if k > 5]) < 3 else 0\n",
    "bits, shifts and flags": ROUTE + "    memory[0] = (0 - 7) >> 1 | 5 & (3 ^ 9)\n"
        "    flag = (1 < 2) & (len(memory) > 3) ^ True\n    memory[1] = flag << 3\n"
        "    memory[1] += 0 << 62\n    return 8 >> int(memory[2] - 1)\n",
    "a loop over a list that its last turn lengthens":
        ROUTE + "    a = [1]\n    for x in a:\n        a.append(x)\n    return len(a)\n",
    "a loop over a list that ends where the list grows":
        ROUTE + "    a = [1]\n    for x in a:\n        a.append(x)\n        break\n    a += a\n"
        "    a.extend([y + len(a) for y in a])\n    return sum(a)\n",
    "lists side by side, one of which grows":
        ROUTE + "    a, b = [1, 2], [3]\n    for x, y in zip(a, b):\n        a.append(x + y)\n"
        "    return len(a)\n",
    "a range from its end": ROUTE + "    turns = 0\n"
        "    for k in reversed(range(2, 11, 3)):\n        turns = turns * 7 + k\n"
        "    for k, x in zip(reversed(range(3)), reversed(sorted(memory))):\n"
        "        memory[k] = x\n    return turns\n",
    "a hook's rows become a list":
        ROUTE + "    instances = [one for one in instances if not one.draining]\n"
        "    instances.append(instances[0])\n    return instances[-1].id + len(instances)\n",
    "a hook's record may become None": SCHEDULE + "    if memory[0] > 0.0:\n"
        "        new_plan = None\n    if new_plan is not None:\n"
        "        memory[1] = add_replica(new_plan, 0, 1, 1, MIXED)\n",
    "what is not None beside a test": ROUTE + "    best = None\n    for k in range(3):\n"
        "        if best is None:\n            best = [k]\n            continue\n"
        "        best = best if k < 2 else None\n"
        "    memory[0] = sum([1] if best is None else best)\n"
        "    kept = [x for x in [None, 2, 1] if x is not None]\n    return min(kept)\n",
    "rounded to places": ROUTE + "    for k in range(8):\n        x = (k - 4) * 0.37125\n"
        "        memory[k] = round(x, 3) + round(x, 0) + round(k, 2)\n"
        "    memory[9] = round(INF, 2)\n    memory[10] = round(1e16 + 0.5, 4)\n    return 0\n",
    "GPUs of a plan": SCHEDULE + "    memory[0] = plan_gpus(plan, 0)\n",
    "a bool becomes a float": TUNE + "    memory[0] = instance.draining + 0.5\n"
        "    memory[1] = max(instance.draining, memory[2], sum(k > 1 for k in range(3)))\n",
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_law_5_what_fuzzing_found_stays_mended(name):
    source = verify(FOUND[name])
    report = trials.tried(source, source.hooks[0], name, calls=6, compiled=True)
    assert not report.violations


def failures(base, count, compiled):
    found = [fuzz.admitted(f"{base}-{place}", compiled) for place in range(count)]
    failed = [answer for answer in found if answer["end"] == "failed"]
    for answer in failed:
        print(answer["seed"], answer["why"], fuzz.smallest(answer, compiled), sep="\n")
    return [(answer["seed"], answer["why"]) for answer in failed]


@pytest.mark.parametrize("part", range(PARTS))
def test_laws_5_and_7_hold_for_programs_nobody_wrote(part):
    base = fuzz.fresh_seed() if part == PARTS - 1 else f"part{part}"
    print(f"EVOLVER_FUZZ_SEED={base}")
    assert not failures(base, PROGRAMS, compiled=False)
    assert not failures(f"{fuzz.BRIEF}-{base}", COMPILED, compiled=True)


TOKENS = [
    "def", "route", "(", ")", "[", "]", "{", "}", ":", ",", ".", "\n", "\n    ", "return", "for",
    "in", "if", "else", "lambda", "0", "1e999", "9" * 50, "'", '"""', "#", "\\", "=", "+", "**",
    "request", "instances", "memory", "not", "is", "None", "*", "@", "await", "yield", ":=",
    "import", "class", "f'{", "}'", "print", "match", "case", "_", "__", "\t", "~", "->", ";",
]  # fmt: skip
NESTED = ["(", "[", "{", "-", "not ", "a.", "a[", "f(", "1 if ", "lambda: ", "1<", "f'{", "a=", "'"]


def hostile_texts(rng):
    yield "".join(chr(rng.randrange(256)) for _ in range(rng.randint(0, 400)))
    yield " ".join(rng.choice(TOKENS) for _ in range(rng.randint(1, 300)))
    yield ROUTE + "    " + " ".join(rng.choice(TOKENS) for _ in range(rng.randint(1, 60))) + "\n"
    yield ROUTE + "    return " + rng.choice(NESTED) * rng.choice([20, 90, 3000]) + "0\n"
    yield ROUTE + "    return " + rng.choice("19.eE_xjn") * rng.choice([30, 4000, 16_000]) + "\n"
    lines = [ROUTE, *("    " * n + "if 1:\n" for n in range(1, rng.choice([9, 60, 100])))]
    yield "".join(lines)
    yield ("x = " + rng.choice(["1+", "(1,)+", "[1]*", "1**", "1<", "a.b."]) * 8000)[:16_384]
    yield fuzz.program(f"{rng.random()}")[1][: rng.randint(10, 900)]


@pytest.mark.parametrize("seed", range(40))
def test_law_7_the_verifier_only_ever_refuses_hostile_text(seed):
    for text in hostile_texts(random.Random(seed)):
        with contextlib.suppress(PolicyRefused):
            verify(text)
