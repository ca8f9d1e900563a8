"""Appends numbered requests for ever, says what is durable, and waits to be killed."""

import os
import sys
import time

from telemetry.request_rows import parse_rows
from telemetry.segments import SegmentLimits, SegmentWriter

folder, began, step = sys.argv[1], int(sys.argv[2]), 50
writer = SegmentWriter(folder, SegmentLimits(segment_rows=2000, flush_s=0.0))
for first in range(began, 10**9, step):
    rows = [
        {"arrived_unix_s": 1.7e9 + number, "prompt_tokens": number + 1, "output_tokens": 1}
        for number in range(first, first + step)
    ]
    writer.append(parse_rows(rows).requests, {"source": {"next": first + step}})
    writer.tick(time.time())
    os.write(1, b"%d\n" % (first + step))
