"""Requests as Arrow tables and back; the one place that knows pyarrow."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from telemetry.errors import SegmentError
from telemetry.request_rows import DIGEST
from telemetry.requests import COLUMNS, Requests, problems_of
from telemetry.segments.limits import MOST_FILE_ROWS

SCHEMA_VERSION = 1
META = b"evolver"  # key of our own words in a Parquet file's metadata
UNREADABLE = (
    ValueError, TypeError, KeyError, OverflowError, NotImplementedError, MemoryError,
    RecursionError, OSError,
)  # fmt: skip
"""What pyarrow, or a look at what it found, raises of files that are no segments."""
_TYPES: dict[type[np.generic], str] = {
    np.float64: "float64", np.int8: "int8", np.int16: "int16", np.int32: "int32",
    np.int64: "int64", np.bool_: "bool_",
}  # fmt: skip


class Arrow(NamedTuple):
    """The modules of pyarrow, and the schema of a segment."""

    pa: Any
    ipc: Any
    parquet: Any
    schema: Any


@cache
def arrow() -> Arrow:
    """pyarrow, loaded when it is first needed.

    Raises:
        SegmentError: it is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.ipc as ipc
        import pyarrow.parquet as parquet
    except ImportError:
        raise SegmentError(
            "Segments of requests need pyarrow: pip install 'evolver[daemon]'."
        ) from None
    kinds = [
        (name, pa.string() if name == "digest" else getattr(pa, _TYPES[column.kind])())
        for name, column in COLUMNS.items()
    ]
    kinds.append(("blocks", pa.list_(pa.field("item", pa.uint64(), nullable=False))))
    schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds])
    return Arrow(pa, ipc, parquet, schema)


def table_of(requests: Requests) -> Any:  # noqa: ANN401 - pyarrow has no types
    """A table of one batch in the segment's schema."""
    pa, schema = arrow().pa, arrow().schema
    names = np.array(["", *requests.digests], object)
    columns = [
        pa.array(names[requests.digest + 1], pa.string()) if name == "digest"
        else pa.array(getattr(requests, name))
        for name in COLUMNS
    ]  # fmt: skip
    offsets = pa.array(requests.block_offsets.astype(np.int32))
    blocks = pa.ListArray.from_arrays(offsets, pa.array(requests.block_hashes))
    columns.append(blocks.cast(schema.field("blocks").type))
    return pa.Table.from_arrays(columns, schema=schema)


def requests_of(table: Any) -> Requests:  # noqa: ANN401
    """The requests of a table of any origin.

    Raises:
        ValueError: it does not hold what segments hold.
    """
    pa, schema = arrow().pa, arrow().schema
    if table.num_rows > MOST_FILE_ROWS or not set(schema.names) <= set(table.schema.names):
        raise ValueError("other columns or too many rows")
    table = table.select(schema.names)
    if any(column.null_count for column in table.columns):
        raise ValueError("values are missing")
    table = table.cast(schema).combine_chunks()
    found: dict[str, Any] = {}
    for name, column in COLUMNS.items():
        if name != "digest":
            values = table.column(name).to_numpy()
            found[name] = np.ascontiguousarray(values).astype(column.kind, copy=False)
    digest, digests = coded_digests(pa.chunked_array(table.column("digest").chunks, pa.string()))
    blocks = table.column("blocks").chunks
    lengths = [np.diff(chunk.offsets.to_numpy()) for chunk in blocks]
    hashes = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in blocks]
    counts = np.concatenate([np.zeros(1, np.int64), *lengths]).astype(np.int64)
    requests = Requests(
        **found, digest=digest, digests=digests, block_offsets=np.cumsum(counts),
        block_hashes=np.concatenate([np.zeros(0, np.uint64), *hashes]).astype(np.uint64),
    )  # fmt: skip
    for problem in problems_of(requests):
        raise ValueError(problem)
    return requests


def coded_digests(column: Any) -> tuple[NDArray[np.int32], tuple[str, ...]]:  # noqa: ANN401
    """Places of digests among the different ones, -1 for the empty one.

    Raises:
        ValueError: one is none.
    """
    encoded = column.combine_chunks().dictionary_encode()
    if hasattr(encoded, "chunks"):
        encoded = encoded.combine_chunks()
    names = encoded.dictionary.to_pylist()
    if not all(DIGEST.fullmatch(name) for name in names):
        raise ValueError("a digest is none")
    known = tuple(name for name in names if name)
    places = np.array([known.index(name) if name else -1 for name in names] or [-1], np.int32)
    return places[encoded.indices.to_numpy()], known
