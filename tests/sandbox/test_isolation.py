"""The layers around a scoring process, attacked from inside with nothing else in the way."""

import json
import os
import shutil
import socket
from pathlib import Path

import pytest
import toy_pools

from sandbox.scores import Candidate

HERE = Path(__file__).parent

CORPUS = HERE.resolve().parents[1].parent / "shared" / "attacks"
CANARY, ESCAPE = Path("/tmp/attack_canary.txt"), Path("/tmp/attack_escape")
SECRET = "a secret that no policy may learn"
KILLED, REFUSED = "crash", 7.0

EXPECTED = {
    "open_a_file": REFUSED,
    "list_a_folder": REFUSED,
    "open_by_openat2": KILLED,
    "open_by_handle": KILLED,
    "link_to_a_file": KILLED,
    "make_a_folder": KILLED,
    "remove_a_file": KILLED,
    "read_its_own_memory_file": REFUSED,
    "trace_its_parent": KILLED,
    "read_its_parents_memory": KILLED,
    "kill_everybody": KILLED,
    "kill_its_parent": KILLED,
    "signal_by_descriptor": KILLED,
    "open_an_internet_socket": KILLED,
    "open_a_netlink_socket": KILLED,
    "open_an_abstract_socket": KILLED,
    "make_a_pair_of_sockets": KILLED,
    "set_up_io_uring": KILLED,
    "run_from_memory": KILLED,
    "run_a_program": KILLED,
    "fork": KILLED,
    "fork_by_vfork": KILLED,
    "fork_by_clone3": KILLED,
    "start_a_thread": KILLED,
    "share_memory": KILLED,
    "undo_no_new_privileges": KILLED,
    "become_root": KILLED,
    "enter_a_namespace": KILLED,
    "load_a_kernel_program": KILLED,
    "watch_the_processor": KILLED,
    "raise_its_limits": KILLED,
    "choose_its_processor": KILLED,
    "leave_its_session": KILLED,
    "stop_itself": KILLED,
    "take_all_memory": REFUSED,
    "take_all_memory_piece_by_piece": REFUSED,
    "read_what_was_inherited": REFUSED,
    "send_a_descriptor": KILLED,
    "call_by_another_table": KILLED,
    "call_as_another_architecture": KILLED,
    "exit_well": KILLED,
    "exit_badly": KILLED,
    "say_that_the_answer_is_huge": KILLED,
    "answer_without_end": KILLED,
    "answer_byte_by_byte": "timeout",
    "answer_twice": KILLED,
    "answer_with_a_new_fault": KILLED,
    "answer_too_little": KILLED,
    "answer_in_fragments_and_go_on": REFUSED,
    "answer_and_never_read": REFUSED,
    "answer_and_again_when_asked": REFUSED,
}


# Those of the corpus that never end by themselves.
ENDLESS = (
    "ctl_swallow_bare", "res_pow_runtime", "res_int_double_loop", "res_while_cond",
    "res_sum_nested", "res_mutual_recursion", "res_regex", "parse_del_dunder",
)  # fmt: skip


def job(text):
    return Candidate(text), ("w",)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A secret that anybody may read, a folder that anybody may write, a port that listens."""
    folder = tmp_path_factory.mktemp("open")
    for path in (folder, *list(folder.parents)[:2]):
        path.chmod(0o777)
    canary = folder / "canary"
    canary.write_text(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        payload = {"canary": str(canary), "folder": str(folder), "port": server.getsockname()[1]}
        yield payload, server


def never_ends(name, asked_before):
    return EXPECTED[name] == "timeout" or (asked_before and name == "answer_and_again_when_asked")


@pytest.fixture(scope="module")
def pool(world):
    with toy_pools.escape_pool(world[0], "score_job", never_ends, workers=4) as pool:
        yield pool


@pytest.fixture(scope="module")
def ends(pool):
    """Every attack once, several at a time, all by one pool."""
    scored = pool.evaluate([job(name) for name in EXPECTED])
    return {name: s[0].fault or s[0].objective for name, s in zip(EXPECTED, scored, strict=True)}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_attack_from_inside_is_refused_or_its_process_killed(ends, name):
    assert ends[name] == EXPECTED[name]


def test_after_the_attacks_nothing_was_written_connected_or_left_running(ends, pool, world):
    payload, server = world
    assert os.listdir(payload["folder"]) == ["canary"]
    with pytest.raises(BlockingIOError):
        server.accept()
    assert ends
    assert toy_pools.states(pool, "T")
    again = pool.evaluate([job("answer_and_again_when_asked"), job("open_a_file")])
    assert [s[0].objective for s in again] == [REFUSED, REFUSED]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Every file of the corpus, run with all of Python, several at a time, all by one pool."""
    if not (CORPUS / "expected.json").exists():
        pytest.skip("the attack corpus is not beside this checkout")
    snippets = json.loads((CORPUS / "expected.json").read_text())["snippets"]
    texts = [(CORPUS / x["file"]).read_bytes().decode("utf-8", "replace") for x in snippets]
    CANARY.write_text(SECRET)
    shutil.rmtree(ESCAPE, ignore_errors=True)
    ESCAPE.mkdir(mode=0o777)
    ESCAPE.chmod(0o777)
    endless = {text for text, x in zip(texts, snippets, strict=True) if x["name"] in ENDLESS}
    with toy_pools.escape_pool({}, "run_job", lambda text, _: text in endless, workers=8) as pool:
        scored = pool.evaluate([job(text) for text in texts])
        left = toy_pools.states(pool, "T")
        healthy = pool.evaluate([job("def route(replicas, request):\n    return 1\n")])[0][0]
    names = [snippet["name"] for snippet in snippets]
    yield dict(zip(names, scored, strict=True)), left, healthy
    CANARY.unlink()
    shutil.rmtree(ESCAPE)


def test_the_corpus_runs_unverified_and_nothing_comes_of_it(corpus):
    scored, left, healthy = corpus
    assert len(scored) > 100
    assert list(ESCAPE.iterdir()) == []
    assert left
    assert (healthy.objective, healthy.fault) == (1.0, None)


def test_attacks_on_time_and_memory_end_at_the_limits(corpus):
    faults = {name: scores[0].fault for name, scores in corpus[0].items()}
    assert {faults[name] for name in ENDLESS} == {"timeout"}
    assert faults["np_huge_alloc"] == "memory"
    assert {faults["imp_open"], faults["np_genfromtxt"], faults["np_save"]} == {"crash"}
