"""How large segments and their folder may become."""

from __future__ import annotations

from dataclasses import dataclass

from telemetry.errors import SegmentError

MiB = 2**20
MOST_FILE_BYTES = 1024 * MiB  # of one segment that is read
MOST_FILE_ROWS = 10_000_000
MOST_FRAME_BYTES = 256 * MiB
FRAME_ROWS = 16_384
MOST_WAITING_ROWS = 1_000_000  # that a disk which takes nothing may make wait in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentLimits:
    """Bounds of a folder of segments.

    Attributes:
        segment_bytes, segment_rows, segment_s: a segment that is larger or older is closed; the
            bytes are those of the open file, several times what the closed one has.
        most_bytes: of all files of the folder together; the oldest go first.
        most_age_s: since a segment was closed; older ones go.
        flush_s: after which what came is durable.
    """

    segment_bytes: int = 64 * MiB
    segment_rows: int = 500_000
    segment_s: float = 600.0
    most_bytes: int = 4096 * MiB
    most_age_s: float = 30 * 86_400.0
    flush_s: float = 1.0

    def __post_init__(self) -> None:
        if not 64 * 1024 <= self.segment_bytes <= MOST_FRAME_BYTES:
            raise SegmentError("A segment has 64 KiB to 256 MiB: give segment_bytes in between.")
        if not 1 <= self.segment_rows <= MOST_FILE_ROWS // 2:
            raise SegmentError("A segment has 1 to 5,000,000 rows: give segment_rows in between.")
        if self.most_bytes < 4 * self.segment_bytes:
            raise SegmentError(
                "The folder must hold four open segments: raise most_bytes or lower segment_bytes."
            )
        if not (self.segment_s > 0 and self.most_age_s > 0 and self.flush_s >= 0):
            raise SegmentError("Segments last a while: give segment_s and most_age_s above 0.")
