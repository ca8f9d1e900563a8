"""Collects a log for ever, says how many rows it has taken, and waits to be killed."""

import os
import sys

from telemetry.segments import Collector, SegmentLimits, SegmentWriter, log_tail

log_tail.GRACE_S, log_tail.CHUNK_BYTES = 0.0, 20_000
folder, log = sys.argv[1:]
writer = SegmentWriter(folder, SegmentLimits(segment_rows=500, flush_s=0.0))
collector = Collector(writer, [log])
while True:
    collector.poll()
    os.write(1, b"%d\n" % sum(one.rows for one in collector.positions.values()))
