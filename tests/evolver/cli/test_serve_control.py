"""A serving host's dealings with a store, as options; and the store of the same machine."""

import pytest

from evolver.cli.failures import Misused
from evolver.cli.policies import open_store
from evolver.cli.serve_control import control_of, report_once
from serving_adapter.process_report import ProcessReport, report_path, write_report
from serving_adapter.safety.ejection import Ejection, EjectionKind


def test_a_host_reports_to_the_store_of_its_machine(home, tmp_path):
    thrown = Ejection(EjectionKind.ERROR, "index", "e" * 64, 3, 9, 1, 1.7e9)
    runs = ProcessReport(
        pid=7, boot="0" * 12, started_unix_s=1.7e9, unix_s=1.7e9, sequence=5, digest="a" * 64,
        since_unix_s=1.7e9, behind=False, off="", decided={"active": 12}, fallbacks=2, swaps=3,
        swap_s=0.002, mean_swap_s=0.001, ejections=(thrown,),
    )  # fmt: skip
    report_once(tmp_path, "default")
    write_report(report_path(tmp_path, 7, runs.boot), runs)
    report_once(tmp_path, "default")
    report_once(tmp_path, "default")
    with open_store() as store:
        (kept,) = store.hosts()
        entries = store.audit.entries(limit=9, action="host_ejected")
    assert (kept.sequence, kept.digest, kept.facts["decisions"]) == (5, "a" * 64, 12)
    assert [one.subject for one in entries] == ["e" * 64]


def test_what_does_not_go_together_is_said(tmp_path):
    assert control_of(None, None, None, 2.0) is None
    token = tmp_path / "token"
    token.write_text("evt_x\n")
    with pytest.raises(Misused):
        control_of(None, None, token, 2.0)
    with pytest.raises(Misused):
        control_of("ftp://store/snapshot", None, None, 2.0)
    plane = control_of("https://store/snapshot", None, token, 2.0)
    assert (plane.snapshot_url, plane.token) == ("https://store/snapshot", "evt_x")
