"""The store that `make bench-store` measures is one that the store itself could have written."""

import bench_store

from policy_store import PolicyStore, State


def test_what_is_filled_in_bulk_is_intact_and_can_be_decided_on(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_store, "ROWS_AT_ONCE", 30)
    with PolicyStore.open(tmp_path / "store.db") as store:
        filled = bench_store.fill(store, policies=6, entries=70)
        for _, _, question in bench_store.QUESTIONS:
            question(filled)
        verdict = store.check()
        assert verdict.intact
        assert verdict.checked["audit"] > 70
        assert len(store.list_policies(state=State.ROLLED_BACK)) == 1
