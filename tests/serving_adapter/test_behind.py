"""A process is behind while its host has admitted more than it runs, and only then."""

import asyncio
from dataclasses import dataclass, field

from serving_adapter.behind import FloorWatch
from serving_adapter.safety.limits import LiveLimits


@dataclass
class Host:
    floor: int = 0
    runs: int = 0
    now_s: float = 100.0
    others: int = 0
    shown: list[bool] = field(default_factory=list)

    def __post_init__(self):
        self.watch = FloorWatch(
            lambda: self.floor, lambda: self.runs, lambda sequence: self.others >= sequence,
            behind_s=1.0, show=self.shown.append, clock=lambda: self.now_s,
        )  # fmt: skip
        self.watch.look()

    def after(self, seconds: float, **change: int) -> bool:
        self.now_s += seconds
        for name, value in change.items():
            setattr(self, name, value)
        self.watch.look()
        return self.watch.behind


def test_it_has_a_second_and_comes_back_by_itself():
    host = Host()
    assert not host.after(0, floor=7)
    assert not host.after(0.99)
    assert host.after(0.02)
    assert host.after(5)
    assert not host.after(0.02, runs=7)
    assert host.shown == [True, False]


def test_each_sequence_has_its_own_second():
    """Swaps every 50 ms that are followed 0.9 s later are in time; 1.1 s later they are not."""
    for late, behind in ((18, False), (22, True)):
        host = Host()
        seen = [host.after(0.05, floor=n, runs=max(0, n - late)) for n in range(1, 400)]
        assert any(seen) is behind


def test_a_floor_from_before_counts_while_another_process_serves_it():
    host = Host(floor=7)
    assert not host.after(5)
    assert host.after(5, others=7)
    assert not host.after(5, others=0)
    assert not host.after(0, floor=8)
    assert host.after(1.1)


async def test_a_host_that_does_not_load_what_another_runs_is_behind(
    new_host, new_admission, snapshot_of, tmp_path
):
    options = {"state": tmp_path, "limits": LiveLimits(behind_s=0.0)}
    here, there = (new_host(admission=new_admission(state=tmp_path), **options) for _ in "ab")
    await there.apply(snapshot_of(1, "first"))
    async with there.running(), asyncio.timeout(5):
        here.watchdog.beside()
        while not here.behind:
            await asyncio.sleep(0.01)
            here.watchdog.beside()
        await here.apply(snapshot_of(1, "first"))
        here.watchdog.beside()
    assert not here.behind
    assert not list((tmp_path / "reports").iterdir())
