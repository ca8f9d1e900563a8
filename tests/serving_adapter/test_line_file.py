"""Append-only files: a line that was cut short spoils no other."""

import os

from serving_adapter.line_file import LineFile


def lines_in(path):
    return LineFile(path, lambda record: f"{record}\n", "log", "name another")


def test_a_line_that_a_full_disk_cut_short_is_ended_before_the_next(tmp_path, monkeypatch):
    path, real = tmp_path / "log", os.write
    log = lines_in(path)

    def full(descriptor, text):
        if len(text) < 6:
            raise OSError("No space left on device")
        return real(descriptor, text[:5])

    monkeypatch.setattr("serving_adapter.line_file.os.write", full)
    log.put("abcdefgh")
    log.flush()
    monkeypatch.undo()
    log.put("next")
    log.close()
    assert path.read_text() == "abcde\nnext\n"
    assert log.dropped == 1


def test_a_line_that_an_earlier_process_left_is_ended_before_the_next(tmp_path):
    path = tmp_path / "log"
    path.write_text("whole\nhal")
    log = lines_in(path)
    log.put("next")
    log.close()
    assert path.read_text() == "whole\nhal\nnext\n"
