"""The archive: ranks, niches, islands, parents."""

import random
from dataclasses import replace

import pytest

from evolver.archive import Archive, ArchiveSettings, Member, geometric_mean
from evolver.task import WindowResult


class Text:
    tunables = ()
    claim = ""

    def __init__(self, lines=1):
        self.canonical = "x\n" * lines

    def annotated(self):
        return self.canonical


def member(digest, score, niche=(0,), lines=1, windows=None):
    windows = windows or {"w": score}
    results = {name: WindowResult(name, value) for name, value in windows.items()}
    return Member(
        digest, digest, Text(lines), {}, results, score, niche, "test", "", (), generation=0
    )


def test_equal_scores_go_to_the_smaller_text():
    archive = Archive(ArchiveSettings(islands=1))
    for item in (member("long", 0.9, lines=9), member("short", 0.9, lines=2)):
        archive.add(item)
    assert archive.best().digest == "short"


def test_who_breaks_a_guardrail_comes_after_all_who_keep_them():
    archive = Archive(ArchiveSettings(islands=1, greedy=1.0))
    archive.add(replace(member("fast", 0.5), breaks="Smooth goodput -9.0%."))
    archive.add(member("sound", 0.9))
    assert archive.best().digest == "sound"
    assert [m.digest for m in archive.island(0)] == ["sound", "fast"]


def test_the_best_of_a_niche_outlives_better_members_of_another():
    archive = Archive(ArchiveSettings(islands=1, island_size=3))
    for index in range(5):
        archive.add(member(f"common{index}", 0.5 + index / 100))
    archive.add(member("odd", 0.9, niche=(1,)))
    assert "odd" in {m.digest for m in archive.island(0)}
    assert len(archive.island(0)) == 3


def test_what_an_island_drops_is_still_remembered():
    archive = Archive(ArchiveSettings(islands=1, island_size=1))
    archive.add(member("a", 0.5))
    assert not archive.add(member("b", 0.9))
    assert [m.digest for m in archive.members()] == ["a", "b"]


def test_migration_goes_round_the_ring():
    archive = Archive(ArchiveSettings(islands=3, migrate_every=2))
    for island in range(3):
        archive.add(member(f"native{island}", 0.9 - island / 10), island)
    archive.migrate(1)
    assert len(archive.island(1)) == 1
    archive.migrate(2)
    assert {m.digest for m in archive.island(1)} == {"native0", "native1"}


def test_a_window_specialist_becomes_a_parent():
    archive = Archive(ArchiveSettings(islands=1, greedy=0.0))
    archive.add(member("broad", 0.8, windows={"a": 0.8, "b": 0.8}))
    archive.add(member("special", 0.9, windows={"a": 0.2, "b": 4.0}))
    parents = {archive.parent(0, random.Random(seed)).digest for seed in range(20)}
    assert parents == {"broad", "special"}


def test_inspirations_leave_out_the_parent():
    archive = Archive(ArchiveSettings(islands=1))
    members = [member(f"m{i}", 0.5 + i / 10, niche=(i % 2,)) for i in range(6)]
    for item in members:
        archive.add(item)
    others = archive.inspirations(0, members[0], 4, random.Random(1))
    assert len({m.digest for m in others}) == 4
    assert members[0] not in others


def test_geometric_mean():
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    assert geometric_mean([]) == 1.0
