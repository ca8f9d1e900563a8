"""A scorer whose candidates name the mishap they want; importable in scoring processes only."""

import json
import os
import signal
import socket
import sys
import time

from sandbox.scores import WindowScore, score_as_json


class PolicyRefused(Exception):
    """Named like the verifier's."""


def prepare(payload):
    payload["prepared_by"] = os.getpid()


def refuse_to_prepare(payload):
    raise RuntimeError("the kernel does not compile")


def score(payload, message, attachment, kept):
    kept["calls"] = kept.get("calls", 0) + 1
    words = attachment.decode().split()
    value = globals()[f"do_{words[0]}"](payload, message["parameters"], kept) or 1.0
    base, calls = payload["base"], {"calls": kept["calls"]}
    scores = [WindowScore(w, base[w] * value, calls) for w in message["windows"]]
    return json.dumps([score_as_json(score) for score in scores]).encode()


def do_well(payload, parameters, kept):
    return (parameters or {}).get("FACTOR", 2.0)


def do_sleep_then_well(payload, parameters, kept):
    time.sleep(0.05)
    return 3.0


def do_hang(payload, parameters, kept):
    while True:
        pass


def do_hang_the_second_time(payload, parameters, kept):
    if kept["calls"] > 1:
        do_hang(payload, parameters, kept)


def do_exit(payload, parameters, kept):
    os._exit(0)


def do_segfault(payload, parameters, kept):
    os.kill(os.getpid(), signal.SIGSEGV)


def do_allocate(payload, parameters, kept):
    kept["hog"] = [bytearray(1 << 20) for _ in range(1 << 14)]


def do_fork(payload, parameters, kept):
    while True:
        os.fork()


def do_raise(payload, parameters, kept):
    raise ZeroDivisionError("secret words of a candidate")


def do_refuse(payload, parameters, kept):
    raise PolicyRefused


def do_nan(payload, parameters, kept):
    return float("nan")


def do_babble(payload, parameters, kept):
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


def do_write(payload, parameters, kept):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def forbidden():
        with open(payload["file"], "w") as file:
            file.write("x")

    return _score_of(forbidden, OSError)


def do_connect(payload, parameters, kept):
    def forbidden():
        with socket.socket() as client:
            client.connect(("127.0.0.1", payload["port"]))

    return _score_of(forbidden, OSError)


def do_look_around(payload, parameters, kept):
    return 7.0 if not os.environ and "" not in sys.path else 666.0


def do_chmod(payload, parameters, kept):
    return _score_of(lambda: os.chmod(__file__, 0o644), PermissionError)


def do_kill_its_parent(payload, parameters, kept):
    return _score_of(lambda: os.kill(payload["prepared_by"], 0), PermissionError)


def do_exec(payload, parameters, kept):
    return _score_of(lambda: os.execv(sys.executable, [sys.executable]), PermissionError)
