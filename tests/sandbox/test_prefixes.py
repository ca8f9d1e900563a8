import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.prefixes import prefixes_of
from telemetry.blocks import Blocks
from telemetry.trace import Trace, TraceMeta

SIZE = 16


def trace_of(prompts, answers=None, session=None, turn=None):
    """One request per list of block ids, as long as its blocks."""
    n = len(prompts)
    return Trace.of(
        TraceMeta(name="prompts"),
        arrival_s=np.arange(n, dtype=float),
        prompt_tokens=np.array([max(SIZE * len(p), 1) for p in prompts]),
        output_tokens=np.full(n, 1) if answers is None else np.array(answers),
        session=np.full(n, -1) if session is None else np.array(session),
        turn=np.zeros(n, int) if turn is None else np.array(turn),
        blocks=Blocks.of_lists([list(p) for p in prompts], SIZE),
    )


def paths(found):
    return [found.paths[s : s + c].tolist() for s, c in zip(found.start, found.count, strict=True)]


def shared_blocks(found, a, b):
    """Blocks that two prompts share, as their segments say."""
    both = 0
    for x, y in zip(paths(found)[a], paths(found)[b], strict=False):
        if x != y:
            break
        both += int(found.blocks[x])
    return both


def common(a, b):
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return n


prompts = st.lists(st.lists(st.integers(0, 2), max_size=9), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(prompts)
def test_prompts_share_exactly_the_blocks_before_they_differ(given_prompts):
    found = prefixes_of(trace_of(given_prompts))
    for a, mine in enumerate(given_prompts):
        covered = sum(found.blocks[g] for g in paths(found)[a])
        last = found.blocks[paths(found)[a][-1]] if mine else 0
        assert covered - last < len(mine) <= covered or not mine
        for b, other in enumerate(given_prompts):
            shared = min(shared_blocks(found, a, b), len(mine), len(other))
            assert shared == common(mine, other)


@settings(max_examples=100, deadline=None)
@given(prompts)
def test_a_segment_begins_as_deep_as_what_lies_before_it(given_prompts):
    found = prefixes_of(trace_of(given_prompts))
    for path in paths(found):
        depths = np.concatenate([[0], np.cumsum(found.blocks[path])])[: len(path)]
        assert found.depth[path].tolist() == depths.tolist()


def test_prompts_are_few_segments():
    found = prefixes_of(trace_of([range(100), [*range(60), *range(200, 240)], range(30)]))
    assert paths(found) == [[0, 1], [0, 2], [0]]
    assert found.blocks.tolist() == [60, 40, 40]
    assert found.prompt_blocks.tolist() == [100, 100, 30]


def test_the_turns_of_a_session_are_one_segment():
    found = prefixes_of(trace_of([range(3), range(50, 53), range(9), range(20)]))
    assert paths(found) == [[0], [1], [0], [0]]
    assert found.blocks.tolist() == [20, 3]


def test_a_block_that_does_not_fill_up_with_the_prompt_is_no_part_of_it():
    trace = trace_of([range(4)])
    short = Trace.of(
        TraceMeta(name="short"), arrival_s=[0.0], prompt_tokens=[3 * SIZE + 5], output_tokens=[1],
        blocks=trace.blocks,
    )  # fmt: skip
    assert prefixes_of(short).blocks.tolist() == [3]


def test_an_answer_goes_on_as_far_as_the_next_turn_repeats_it():
    first, second = range(4), range(12)
    trace = trace_of([first, second], answers=[5 * SIZE, 1], session=[7, 7], turn=[0, 1])
    found = prefixes_of(trace)
    # the last token of an answer is never computed on, so 4 of its 5 blocks are whole
    assert found.answer_blocks.tolist() == [8, 0]
    assert found.answer_count.tolist() == [0, 0]


def test_an_answer_goes_on_into_a_segment_of_its_own_where_prompts_part():
    prompts = [range(4), range(12), [*range(4), 90]]
    trace = trace_of(prompts, answers=[5 * SIZE, 1, 1], session=[7, 7, -1], turn=[0, 1, 0])
    found = prefixes_of(trace)
    answer = found.paths[found.answer_start[0]]
    assert (found.depth[answer], found.blocks[answer]) == (4, 8)
    assert found.answer_count.tolist() == [1, 0, 0]


def test_without_a_session_nobody_knows_who_repeats_an_answer():
    found = prefixes_of(trace_of([range(4), range(12)], answers=[5 * SIZE, 1]))
    assert not found.answer_blocks.any()
