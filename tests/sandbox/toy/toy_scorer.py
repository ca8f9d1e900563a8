"""Jobs whose candidates name the mishap they want; importable in working processes only."""

import os
import platform
import signal
import socket
import struct
import sys
import time

from sandbox import worker_filters

CHANNEL = 0


class PolicyRefused(Exception):
    """Named like the verifier's."""


def prepare(payload):
    payload["prepared_by"] = os.getpid()


def prepare_on_another_machine(payload):
    platform.machine = lambda: "riscv64"


def prepare_without_landlock(payload):
    worker_filters._CREATE = 1023


def prepare_as_one_who_stays(payload):
    def refuse(*ids):
        raise PermissionError("Operation not permitted")

    os.getresuid, os.setgroups = lambda: (0, 0, 0), refuse


def compile_job(payload, message, attachment, kept):
    words = message["source"].split()
    if words[0] == "compile":
        globals()[f"do_{words[1]}"](payload, None, kept)
    return b"code of " + message["source"].encode()


def score_job(payload, message, attachment, kept):
    """Each window's base times what the candidate did, as float64; then how often it was asked."""
    kept["calls"] = kept.get("calls", 0) + 1
    words = message["source"].split()
    if words[0] == "compile":
        value = 3.0 if attachment == b"code of " + message["source"].encode() else 666.0
    elif words[0] == "slowly":
        value = 4.0 if attachment else do_hang(payload, None, kept)
    else:
        value = globals()[f"do_{words[0]}"](payload, message["parameters"], kept) or 1.0
    numbers = [payload["base"][w] * value for w in message["windows"]]
    return struct.pack(f"<{len(numbers) + 1}d", *numbers, kept["calls"])


def do_well(payload, parameters, kept):
    return (parameters or {}).get("FACTOR", 2.0)


def do_dawdle_then_well(payload, parameters, kept):
    until_s = time.monotonic() + 0.05
    while time.monotonic() < until_s:
        pass
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
    kept["channel"] = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, CHANNEL)
    kept["channel"].sendall(b"\xff" * 4096)


def do_look_around(payload, parameters, kept):
    return 7.0 if not os.environ and "" not in sys.path else 666.0
