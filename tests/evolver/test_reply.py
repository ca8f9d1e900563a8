import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolver import reply
from evolver.reply import HOOKS, MAX_POLICY_BYTES, Flaw, ReplyFlawed, idea_of, policy_in

POLICY = '"""Send it to the first."""\n\ndef route(request, instances, memory):\n    return 0\n'
HELPER = "def helper(x):\n    return x\n"


def fenced(text, language="python"):
    return f"```{language}\n{text}```"


OTHER = fenced("x = 1\n", "json")


@pytest.mark.parametrize(
    "reply",
    [
        fenced(POLICY),
        f"Some thoughts.\n\n{fenced(POLICY, 'py')}\n\nThat is all.",
        fenced(POLICY, ""),
        f"~~~python\n{POLICY}~~~",
        f"`````python\n{POLICY}`````",
        POLICY,
        f"The idea in code:\n{fenced(HELPER)}\nand whole:\n{fenced(POLICY)}",
        f"{OTHER}\n{fenced(POLICY)}",
        f"{fenced(POLICY)}\nAgain:\n{fenced(POLICY)}",
        f"<think>\n{fenced(HELPER)}\n</think>\n{fenced(POLICY)}",
        f"```python\n{POLICY}",
        fenced(POLICY).replace("\n", "\r\n"),
    ],
)
def test_the_policy_is_found_whatever_surrounds_it(reply):
    assert policy_in(reply) == POLICY


@pytest.mark.parametrize(
    ("reply", "flaw"),
    [
        ("", Flaw.EMPTY),
        ("  \n", Flaw.EMPTY),
        ("I cannot help with that.", Flaw.NO_CODE),
        (fenced("rm -rf /", "bash"), Flaw.NO_CODE),
        (fenced(POLICY) + "\nor\n" + fenced(POLICY.replace("0", "1")), Flaw.SEVERAL),
        ("```python\ndef route(request, inst", Flaw.UNCLOSED),
        (fenced(POLICY + "#" * MAX_POLICY_BYTES + "\n"), Flaw.TOO_LONG),
    ],
)
def test_a_reply_without_one_policy_says_what_is_wrong(reply, flaw):
    with pytest.raises(ReplyFlawed) as caught:
        policy_in(reply)
    assert caught.value.flaw is flaw


@pytest.mark.parametrize("reply", [f"```python\n{POLICY}", POLICY])
def test_what_was_cut_off_is_not_taken_for_whole(reply):
    with pytest.raises(ReplyFlawed):
        policy_in(reply, cut=True)


def test_typographic_characters_become_ascii_and_hidden_ones_visible():
    text = policy_in(fenced(POLICY.replace("Send", "\u201cSend\u201d \u2265 \u202e\u200b")))
    assert '"Send" >= ?' in text
    assert text.isascii()


@given(st.text())
def test_any_text_gives_an_ascii_policy_or_a_flaw(reply):
    try:
        text = policy_in(reply)
    except ReplyFlawed:
        text = ""
    assert text.isascii()


def test_the_idea_is_the_first_line_of_the_docstring():
    assert idea_of(POLICY) == "Send it to the first."
    assert idea_of("not python at all (") == ""


def test_hooks_are_those_of_the_contract():
    assert {"route", "schedule", "tune"} <= HOOKS
    assert "is_missing" not in HOOKS


def test_a_long_line_that_is_no_fence_takes_linear_time():
    assert reply._FENCE.match("```" + " " * 100_000 + "`") is None
    assert reply._FENCE.match("~~~~" + "a" * 100_000)[1] == "~~~~"
