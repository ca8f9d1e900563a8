"""Every error that telemetry raises on purpose.

    TelemetryError
    ├── TraceError             columns that are no trace, or a cut that cannot be made
    │   └── CapacityError      the same for capacity traces
    ├── ReadError              a file that cannot be read as a trace
    │   ├── FormatError        the format is unknown or ambiguous: name it
    │   └── RowError           one row is malformed: names its line and the remedy
    ├── SegmentError           a folder of segments that cannot be written or read
    └── ProfileError           a profile that cannot be loaded, fitted or generated from

Each message is one sentence that says what is wrong, then what to do next.
"""

from __future__ import annotations


class TelemetryError(Exception):
    """Root of the tree; catching it catches everything telemetry raises on purpose."""


class TraceError(TelemetryError):
    """The columns do not make a valid trace, or the requested cut or scaling makes none."""


class CapacityError(TraceError):
    """The events do not make a valid capacity trace, or a conversion was not declared."""


class ReadError(TelemetryError):
    """The file cannot be read as a trace."""


class FormatError(ReadError):
    """The format of a file is unknown, ambiguous, or needs a declaration."""


class RowError(ReadError):
    """One row of a file is malformed.

    Attributes:
        line: 1-based line in the file or archive member; 0 when the row has no line.
    """

    def __init__(self, where: str, line: int, problem: str, remedy: str) -> None:
        place = f"{where}, line {line}" if line else where
        super().__init__(f"{place}: {problem}; {remedy}.")
        self.line = line


class SegmentError(TelemetryError):
    """A folder of segments cannot be written, or is another writer's."""


class ProfileError(TelemetryError):
    """A profile cannot be found, parsed, fitted, or generated from."""
