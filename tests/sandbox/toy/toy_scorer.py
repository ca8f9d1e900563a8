"""A scorer whose candidates name the mishap they want; importable in scoring processes only."""

import os
import signal
import socket
import sys
import time

from sandbox.scores import WindowScore


class PolicyRefused(Exception):
    """Named like the verifier's."""


def prepare(payload):
    payload["prepared_by"] = os.getpid()


def refuse_to_prepare(payload):
    raise RuntimeError("the kernel does not compile")


def score(payload, candidate, windows, kept):
    kept["calls"] = kept.get("calls", 0) + 1
    words = candidate.source_text.split()
    mishap = globals()[f"do_{words[0]}"]
    value = mishap(payload, candidate, kept) or 1.0
    return [WindowScore(w, payload["base"][w] * value, {"calls": kept["calls"]}) for w in windows]


def do_well(payload, candidate, kept):
    return (candidate.parameters or {}).get("FACTOR", 2.0)


def do_sleep_then_well(payload, candidate, kept):
    time.sleep(0.05)
    return 3.0


def do_hang(payload, candidate, kept):
    while True:
        pass


def do_hang_the_second_time(payload, candidate, kept):
    if kept["calls"] > 1:
        do_hang(payload, candidate, kept)


def do_exit(payload, candidate, kept):
    os._exit(0)


def do_segfault(payload, candidate, kept):
    os.kill(os.getpid(), signal.SIGSEGV)


def do_allocate(payload, candidate, kept):
    kept["hog"] = [bytearray(1 << 20) for _ in range(1 << 14)]


def do_fork(payload, candidate, kept):
    while True:
        os.fork()


def do_raise(payload, candidate, kept):
    raise ZeroDivisionError("secret words of a candidate")


def do_refuse(payload, candidate, kept):
    raise PolicyRefused


def do_nan(payload, candidate, kept):
    return float("nan")


def do_babble(payload, candidate, kept):
    payload["base"] = {}
    for descriptor in range(3, 16):
        try:
            os.write(descriptor, b"\xff" * 4096)
        except OSError:
            continue
    time.sleep(5)


def _score_of(forbidden, *errors):
    try:
        forbidden()
    except errors:
        return 7.0
    return 666.0


def do_write(payload, candidate, kept):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def forbidden():
        with open(payload["file"], "w") as file:
            file.write("x")

    return _score_of(forbidden, OSError)


def do_connect(payload, candidate, kept):
    def forbidden():
        with socket.socket() as client:
            client.connect(("127.0.0.1", payload["port"]))

    return _score_of(forbidden, OSError)


def do_look_around(payload, candidate, kept):
    return 7.0 if not os.environ and "" not in sys.path else 666.0


def do_chmod(payload, candidate, kept):
    return _score_of(lambda: os.chmod(__file__, 0o644), PermissionError)


def do_kill_its_parent(payload, candidate, kept):
    return _score_of(lambda: os.kill(payload["prepared_by"], 0), PermissionError)


def do_exec(payload, candidate, kept):
    return _score_of(lambda: os.execv(sys.executable, [sys.executable]), PermissionError)
