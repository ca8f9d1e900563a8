"""What is asked of a folder comes back, or is named, skipped and counted."""

import json

import numpy as np
import pytest

from telemetry.errors import ReadError
from telemetry.request_rows import base64_of
from telemetry.segments import SegmentLimits, SegmentWriter, read
from telemetry.segments.arrow import arrow
from telemetry.segments.manifest import load

BEGAN = 1_700_000_000.0


@pytest.fixture
def three(tmp_path, made):
    """A folder of three segments of ten requests."""
    with SegmentWriter(tmp_path, SegmentLimits(segment_rows=10, flush_s=0.0)) as writer:
        for first in (0, 10, 20):
            writer.append(made(range(first, first + 10)))
            writer.tick()
    return tmp_path


def test_a_stretch_of_time_is_read_without_its_end(three):
    found = read(three, BEGAN + 8, BEGAN + 22)
    assert found.arrived_unix_s.tolist() == [BEGAN + k for k in range(8, 22)]
    assert (found.notes, found.skipped_segments) == ((), 0)
    with pytest.raises(ReadError, match="shorten"):
        read(three, most_rows=20)
    with pytest.raises(ReadError, match="no folder"):
        read(three / "none")


def test_every_column_comes_back_as_it_was(tmp_path, made):
    hashes = [(2**64 - 1 - k).to_bytes(8, "little") for k in range(5)]
    first = made(range(3), block_tokens=64, blocks=base64_of(hashes), cached_tokens=17)
    second = made([3, 4], digest="", ttft_s=None, online=False, outcome="rejected", weight=0.5)
    with SegmentWriter(tmp_path) as writer:
        writer.append(first)
        writer.append(second)
    found = read(tmp_path)
    assert found.policies == ["d" * 64] * 3 + [""] * 2
    assert found.cached_tokens.tolist() == [17, 17, 17, -1, -1]
    assert np.isnan(found.ttft_s).tolist() == [False, False, False, True, True]
    assert found.online.tolist() == [True, True, True, False, False]
    assert np.diff(found.block_offsets).tolist() == [5, 5, 5, 0, 0]
    assert found.block_hashes[:5].tolist() == [2**64 - 1 - k for k in range(5)]


@pytest.mark.parametrize("damage", ["missing", "short", "flipped", "empty"])
def test_a_segment_that_is_not_what_it_was_is_named_and_skipped(three, damage):
    path = sorted(three.glob("*.parquet"))[1]
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.write_bytes(data[:-9] if damage == "short" else b"")
    found = read(three)
    assert len(found) == 20
    assert found.skipped_segments == 1
    assert any(path.name in note for note in found.notes)
    assert read(three, BEGAN, BEGAN + 10).skipped_segments == 0


@pytest.mark.parametrize("text", [
    None, "", "{", "[]", '{"segments": [], "positions": []}', "[" * 100_000,
    '{"segments": [{"number": 1e999}], "positions": {}}', '{"segments": 3, "positions": {}}',
])  # fmt: skip
def test_a_manifest_that_is_lost_is_made_again_from_the_segments(three, made, text):
    path = three / "manifest.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    found = read(three)
    assert len(found) == 30
    assert any("manifest" in note for note in found.notes)
    with SegmentWriter(three) as writer:
        writer.append(made([30]))
    assert [one.number for one in load(three).segments] == [1, 2, 3, 4]
    assert len(read(three)) == 31


def test_a_damaged_segment_without_a_manifest_is_counted_too(three):
    (three / "manifest.json").unlink()
    sorted(three.glob("*.parquet"))[0].write_bytes(b"PAR1 nothing PAR1")
    with SegmentWriter(three):
        pass
    found = read(three)
    assert (len(found), found.skipped_segments) == (20, 1)


def forge(folder, table):
    """Put a table in the place of the first segment, and have the manifest agree."""
    import hashlib

    path = sorted(folder.glob("*.parquet"))[0]
    arrow().parquet.write_table(table, path)
    manifest = json.loads((folder / "manifest.json").read_text())
    data = path.read_bytes()
    manifest["segments"][0] |= {
        "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "rows": table.num_rows,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))


def changed(table, name, values):
    pa = arrow().pa
    place = table.schema.get_field_index(name)
    kind = table.schema.field(name).type
    return table.set_column(place, name, pa.array(values, kind))


@pytest.mark.parametrize(("name", "value"), [
    ("prompt_tokens", -5), ("outcome", 100), ("arrived_unix_s", float("inf")), ("tenant", None),
    ("digest", "x" * 65), ("ttft_s", -1.0), ("blocks", [1] * 600), ("endpoint", -1),
])  # fmt: skip
def test_hostile_values_are_no_requests(three, name, value):
    table = arrow().parquet.read_table(sorted(three.glob("*.parquet"))[0])
    values = table.column(name).to_pylist()
    forge(three, changed(table, name, [value, *values[1:]]))
    found = read(three)
    assert (len(found), found.skipped_segments) == (20, 1)


def test_other_columns_are_no_requests(three):
    pa = arrow().pa
    table = arrow().parquet.read_table(sorted(three.glob("*.parquet"))[0])
    forge(three, table.drop_columns(["tenant"]))
    assert read(three).skipped_segments == 1
    forge(three, pa.table({"text": ["kanarienvogel"] * 10}))
    found = read(three)
    assert found.skipped_segments == 1
    assert not any("kanarienvogel" in note for note in found.notes)


@pytest.mark.parametrize("name", ["tenant", "arrived_unix_s"])
@pytest.mark.parametrize("kind", ["struct", "null"])
def test_columns_that_cannot_be_cast_or_compared_are_no_requests(three, name, kind):
    pa, _, parquet, schema = arrow()
    table = parquet.read_table(sorted(three.glob("*.parquet"))[0])
    values = {
        "struct": lambda: pa.array([{"a": [[1]]}] * len(table)),
        "null": lambda: pa.array([None] * len(table), pa.float64()),
    }[kind]()
    forge(three, table.set_column(schema.get_field_index(name), name, values))
    found = read(three)
    assert (len(found), found.skipped_segments) == (20, 1)
    (three / "manifest.json").unlink()
    SegmentWriter(three).close()
