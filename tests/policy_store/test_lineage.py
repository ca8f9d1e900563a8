"""Relatives of a version: both directions, nearest first, never more than asked for."""

import pytest

from policy_store.errors import UnknownPolicy


def test_a_family_has_ancestors_and_descendants_by_generation(store, proposed):
    grand, other = proposed(), proposed()
    parent = proposed(parents=(grand, other))
    child = proposed(parents=(parent,))
    cousin = proposed(parents=(grand,))
    family = store.family(parent)
    assert family.depths == {grand: -1, other: -1, parent: 0, child: 1}
    assert cousin not in family.versions
    assert set(family.edges) == {(grand, parent), (other, parent), (parent, child)}
    assert [one.digest for one in family.main_line] == [grand, parent]
    assert not family.older_left
    assert not family.younger_left


def test_a_relative_by_two_lines_counts_once_by_the_shorter(store, proposed):
    root = proposed()
    middle = proposed(parents=(root,))
    child = proposed(parents=(middle, root))
    assert store.family(child).depths[root] == -1


def test_large_families_are_cut_and_say_so(store, proposed):
    root = proposed()
    line = [root]
    for _ in range(6):
        line.append(proposed(parents=(line[-1],)))
    for _ in range(6):
        proposed(parents=(root,))
    family = store.family(root, most=5)
    assert len(family.versions) == 6
    assert (family.older_left, family.younger_left) == (False, True)
    family = store.family(line[-1], most=3)
    assert family.older_left
    assert [one.digest for one in family.main_line] == line[-4:]


def test_strangers_have_no_family(store):
    with pytest.raises(UnknownPolicy):
        store.family("abcdef")
