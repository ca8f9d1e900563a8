import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_request import Attempt, request

from evolver.diff_reply import edited_text, policy_from_edits
from evolver.reply import ReplyFlawed

TEXT = '''"""Two steps."""
KNEE = 0.85


def route(request, instances, memory):
    best = -1
    for inst in instances:
        if inst.queued_requests < 4:
            best = inst.id
    return best


def tune(instance, memory):
    return 0
'''


def block(old, new):
    return f"<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE"


RAISE = block("KNEE = 0.85", "KNEE = 0.9")
LESS = block("        if inst.queued_requests < 4:", "        if inst.queued_requests < 2:")


@pytest.mark.parametrize("frame", ["{}", "Words.\n```python\n{}\n```\nMore.", "<think>a</think>{}"])
def test_each_block_changes_its_lines_whatever_is_said_around(frame):
    text = policy_from_edits(frame.format(f"{LESS}\n\n{RAISE}"), TEXT)
    assert text == TEXT.replace("0.85", "0.9").replace("< 4", "< 2")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("if inst.queued_requests < 4:\n    best = inst.id",
         "if inst.queued_requests < 2:\n    best = inst.id"),
        ("\n        if  inst.queued_requests < 4: \n            best = inst.id",
         "        if inst.queued_requests < 2:\n            best = inst.id\n"),
        ("\tif inst.queued_requests < 4:", "\tif inst.queued_requests < 2:"),
    ],
)  # fmt: skip
def test_lines_fit_without_regard_to_white_space_and_keep_their_depth(old, new):
    assert policy_from_edits(block(old, new), TEXT) == TEXT.replace("< 4", "< 2")


def test_an_edit_may_delete_lines():
    text = policy_from_edits("<<<<<<< SEARCH\nKNEE = 0.85\n=======\n>>>>>>> REPLACE", TEXT)
    assert text == TEXT.replace("KNEE = 0.85\n", "")


def test_a_divider_among_the_policys_own_lines_is_told_from_the_blocks():
    text = TEXT.replace("Two steps.", "Two steps.\n=========\nMore.\n")
    edit = block("=========\nMore.", "=========\nLess.")
    assert policy_from_edits(edit, text) == text.replace("More", "Less")


@pytest.mark.parametrize("reply", [f"```python\n{TEXT}```", block("", TEXT)])
def test_a_whole_policy_counts_too(reply):
    assert policy_from_edits(reply, "x = 1\n") == TEXT


@pytest.mark.parametrize(
    ("reply", "flaw"),
    [
        (RAISE + "\n" + block("nothing like it", "x"), "edit 2 searches for are not in the policy"),
        (block("memory):", "x"), "edit 1 searches for are not"),
        (block("\n", "x"), "edit 1 searches for nothing"),
        (block("    for inst in instances:\n            if inst.queued_requests < 4:", ""), "not"),
        (RAISE.replace("=======\n", ""), "edit 1 lacks its line ======="),
        (RAISE.removesuffix(">>>>>>> REPLACE"), "edit 1 lacks its line >>>>>>>"),
        (f"{RAISE}\n<<<<<<< SEARCH\nx\n{RAISE}", "edit 2 lacks its line >>>>>>>"),
        (f"{RAISE}\n{RAISE}", "edits 1 and 2 change the same lines"),
        ("\n".join([RAISE] * 41), "more than 40 edits"),
        ("I have no idea.", "neither SEARCH/REPLACE blocks nor a policy"),
        ("", "it is empty"),
        (block("KNEE = 0.85", "#" * 17_000), "longer than 16 KiB"),
    ],
)  # fmt: skip
def test_an_edit_that_cannot_be_made_is_named(reply, flaw):
    with pytest.raises(ReplyFlawed, match=flaw):
        policy_from_edits(reply, TEXT)


def test_lines_that_stand_in_several_places_are_not_guessed():
    with pytest.raises(ReplyFlawed, match="edit 1 searches for stand in 2 places"):
        policy_from_edits(block("x = 1", "x = 2"), "x = 1\ny = 2\nx = 1\n")
    text = policy_from_edits(block("y = 2\nx = 1", "x = 2"), "x = 1\ny = 2\nx = 1\n")
    assert text == "x = 1\nx = 2\n"


def test_of_a_reply_that_was_cut_off_no_edit_counts():
    with pytest.raises(ReplyFlawed, match="cut off"):
        policy_from_edits(f"{RAISE}\nNow the sec", TEXT, cut=True)


def test_edits_are_made_to_the_latest_try_that_was_a_text():
    assert edited_text(request()) == request().parent.text
    tries = (Attempt("first\n"), Attempt("second\n"), Attempt("babble", unusable="it is empty"))
    assert edited_text(request(*tries)) == "second\n"


LINES = TEXT.splitlines()


@given(st.integers(0, len(LINES) - 1), st.integers(1, 6), st.text("ab =\n", max_size=40))
def test_a_quoted_stretch_is_replaced_or_refused_and_nothing_else_moves(start, length, new):
    old = "\n".join(LINES[start : start + length])
    try:
        text = policy_from_edits(block(old, new), TEXT)
    except ReplyFlawed:
        return
    before, after = "\n".join(LINES[:start]), "\n".join(LINES[start + length :])
    assert text.startswith(before.strip("\n"))
    assert text.rstrip("\n").endswith(after.strip("\n"))


@given(
    st.lists(st.sampled_from([RAISE, LESS, "<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE", "x"]))
)
def test_any_mixture_of_marks_gives_a_text_or_a_flaw(parts):
    try:
        text = policy_from_edits("\n".join(parts), TEXT)
    except ReplyFlawed:
        text = ""
    assert text.isascii()


def test_a_block_of_dividers_alone_is_turned_down_before_each_is_tried():
    reply = "<<<<<<< SEARCH\nKNEE = 0.85\n" + "=======\n" * 40_000 + ">>>>>>> REPLACE"
    with pytest.raises(ReplyFlawed, match="40000 lines ======="):
        policy_from_edits(reply, TEXT)
