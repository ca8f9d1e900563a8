"""What a policy that broke out of its language would try against the process it is in.

`score_job` runs one of them by name: 7 is the answer of an attack that was refused, 666 of one
that got somewhere, and a process that was killed for asking answers nothing. `run_job` runs the
source it is given with all of Python and nothing in its way.
"""

import builtins
import contextlib
import ctypes
import importlib
import mmap
import os
import platform
import resource
import signal
import socket
import struct
import threading

import numpy as np

CHANNEL = 0
REFUSED, ESCAPED = 7.0, 666.0
ATTACKS = {}
NEEDED = (
    "collections", "datetime", "functools", "io", "itertools", "json", "math", "multiprocessing",
    "operator", "pickle", "random", "re", "shutil", "statistics", "string", "subprocess", "sys",
    "tempfile", "time", "numpy.f2py", "numpy.testing", "numpy.lib.npyio", "numpy.ctypeslib",
)  # fmt: skip
LIBC = ctypes.CDLL(None, use_errno=True)
ON_X86 = platform.machine() == "x86_64"


class Escaped(BaseException):
    """Something worked that must not."""


def prepare(payload):
    payload["warm"] = os.getpid()
    for name in NEEDED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def score_job(payload, message, attachment, kept):
    kept["calls"] = kept.get("calls", 0) + 1
    try:
        value = ATTACKS[message["source"]](payload, kept) or ESCAPED
    except (OSError, MemoryError):
        value = REFUSED
    except BaseException:
        value = ESCAPED
    return struct.pack("<d", value)


def run_job(payload, message, attachment, kept):
    """A policy's route called as a careless host would, and its answer looked at."""
    scope = {"__builtins__": builtins, "np": np, "numpy": np, "os": os}
    exec(message["source"], scope)
    replicas = [type("Replica", (), {"id": k, "queued": k, "load": 0.5})() for k in range(4)]
    request = type("Request", (), {"prompt_tokens": 10, "output_tokens": 5})()
    answer = scope["route"](replicas, request)
    return struct.pack("<d", float(type(answer) is int))


def attack(function):
    ATTACKS[function.__name__] = function
    return function


def call(x86, arm, *arguments):
    """A system call by number; OSError as the system says."""
    result = LIBC.syscall(x86 if ON_X86 else arm, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return ESCAPED


def raw_send(data):
    sent = LIBC.send(CHANNEL, data, len(data), 0)
    if sent != len(data):
        raise OSError(ctypes.get_errno(), "not sent")


def reply(*numbers):
    body = b"\0" + struct.pack(f"<{len(numbers)}d", *numbers)
    return struct.pack("<Q", len(body)) + body


@attack
def open_a_file(payload, kept):
    with open(payload["canary"]) as file:
        file.read()


@attack
def list_a_folder(payload, kept):
    os.listdir("/")


@attack
def open_by_openat2(payload, kept):
    how = struct.pack("=QQQ", os.O_RDONLY, 0, 0)
    return call(437, 437, -100, payload["canary"].encode(), how, len(how))


@attack
def open_by_handle(payload, kept):
    return call(304, 265, -100, b"\0" * 16, 0)


@attack
def link_to_a_file(payload, kept):
    os.symlink(payload["canary"], payload["folder"] + "/link")


@attack
def make_a_folder(payload, kept):
    os.mkdir(payload["folder"] + "/made")


@attack
def remove_a_file(payload, kept):
    os.unlink(payload["canary"])


@attack
def read_its_own_memory_file(payload, kept):
    with open("/proc/self/mem", "r+b") as file:
        file.write(b"x")


@attack
def trace_its_parent(payload, kept):
    return call(101, 117, 16, payload["warm"], 0, 0)


@attack
def read_its_parents_memory(payload, kept):
    return call(310, 270, payload["warm"], 0, 0, 0, 0, 0)


@attack
def kill_everybody(payload, kept):
    os.kill(-1, signal.SIGKILL)


@attack
def kill_its_parent(payload, kept):
    os.kill(payload["warm"], signal.SIGKILL)


@attack
def signal_by_descriptor(payload, kept):
    return call(434, 434, payload["warm"], 0)


@attack
def open_an_internet_socket(payload, kept):
    with socket.socket() as client:
        client.connect(("127.0.0.1", payload["port"]))


@attack
def open_a_netlink_socket(payload, kept):
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)


@attack
def open_an_abstract_socket(payload, kept):
    socket.socket(socket.AF_UNIX).connect("\0systemd")


@attack
def make_a_pair_of_sockets(payload, kept):
    socket.socketpair()


@attack
def set_up_io_uring(payload, kept):
    return call(425, 425, 8, ctypes.create_string_buffer(256))


@attack
def run_from_memory(payload, kept):
    descriptor = os.memfd_create("x")
    os.execve(descriptor, ["x"], {})


@attack
def run_a_program(payload, kept):
    os.execv("/bin/sh", ["sh", "-c", f"touch {payload['folder']}/ran"])


@attack
def fork(payload, kept):
    os.fork()


@attack
def fork_by_vfork(payload, kept):
    return call(58, 220, 0, 0, 0, 0, 0)


@attack
def fork_by_clone3(payload, kept):
    return call(435, 435, ctypes.create_string_buffer(88), 88)


@attack
def start_a_thread(payload, kept):
    threading.Thread(target=lambda: None).start()


@attack
def share_memory(payload, kept):
    return call(29, 194, 0x1234, 4096, 0o1666)


@attack
def undo_no_new_privileges(payload, kept):
    return call(157, 167, 4, 1, 0, 0, 0)


@attack
def become_root(payload, kept):
    os.setuid(0)


@attack
def enter_a_namespace(payload, kept):
    return call(272, 97, 0x1000_0000)


@attack
def load_a_kernel_program(payload, kept):
    return call(321, 280, 0, 0, 0)


@attack
def watch_the_processor(payload, kept):
    return call(298, 241, ctypes.create_string_buffer(128), 0, -1, -1, 0)


@attack
def raise_its_limits(payload, kept):
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))


@attack
def choose_its_processor(payload, kept):
    os.sched_setaffinity(0, {0})


@attack
def leave_its_session(payload, kept):
    os.setsid()


@attack
def stop_itself(payload, kept):
    signal.raise_signal(signal.SIGSTOP)


@attack
def take_all_memory(payload, kept):
    np.ones(1 << 40, np.uint8)


@attack
def take_all_memory_piece_by_piece(payload, kept):
    kept["hog"] = []
    while True:
        kept["hog"].append(np.empty(1 << 20, np.uint8))


@attack
def read_what_was_inherited(payload, kept):
    buffer = ctypes.create_string_buffer(16)
    for descriptor in range(1, 1024):
        LIBC.recv(descriptor, buffer, 16, socket.MSG_DONTWAIT)
        if ctypes.get_errno() != 9:  # EBADF
            return ESCAPED
    return REFUSED


@attack
def send_a_descriptor(payload, kept):
    channel = kept["channel"] = socket.socket(socket.AF_UNIX, fileno=CHANNEL)
    socket.send_fds(channel, [b"x"], [CHANNEL])


@attack
def call_by_another_table(payload, kept):
    return call(0x4000_0000 | 39, 9999)


@attack
def call_as_another_architecture(payload, kept):
    """getpid of 32 bits on x86_64; on others a call that there is not."""
    if not ON_X86:
        return call(0, 9999)
    page = kept["page"] = mmap.mmap(-1, 4096, prot=7)
    page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20; int 0x80; ret
    where = ctypes.addressof(ctypes.c_char.from_buffer(page))
    ctypes.CFUNCTYPE(ctypes.c_int)(where)()
    return ESCAPED


@attack
def exit_well(payload, kept):
    os._exit(0)


@attack
def exit_badly(payload, kept):
    os._exit(77)


@attack
def say_that_the_answer_is_huge(payload, kept):
    raw_send(struct.pack("<Q", 1 << 40) + b"\0")
    spin()


@attack
def answer_without_end(payload, kept):
    while True:
        raw_send(b"\0" * 4096)


@attack
def answer_byte_by_byte(payload, kept):
    raw_send(struct.pack("<Q", 200))
    while True:
        raw_send(b"\0")
        for _ in range(2_000_000):
            pass


@attack
def answer_twice(payload, kept):
    raw_send(reply(1.0) * 2)
    spin()


@attack
def answer_with_a_new_fault(payload, kept):
    raw_send(struct.pack("<Q", 9) + b"\1escaped!")
    spin()


@attack
def answer_too_little(payload, kept):
    raw_send(struct.pack("<Q", 5) + b"\0abcd")
    spin()


@attack
def answer_in_fragments_and_go_on(payload, kept):
    """Its own answer, in its own way: allowed, but nothing of it runs on."""
    for byte in reply(REFUSED):
        raw_send(bytes([byte]))
    spin()


@attack
def answer_and_never_read(payload, kept):
    raw_send(reply(REFUSED))
    spin()


@attack
def answer_and_again_when_asked(payload, kept):
    return REFUSED if kept["calls"] == 1 else spin()


def spin():
    while True:
        pass
