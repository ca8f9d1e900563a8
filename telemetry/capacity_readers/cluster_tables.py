"""Tables of shared clusters: Helios idle GPUs, Alibaba's hourly demand and its DLRM instances."""

from __future__ import annotations

import numpy as np

from telemetry.capacity import CapacityTrace, of_counts
from telemetry.capacity_readers.form import MAX_NODES, CapacityFormat, lives, safe_model
from telemetry.errors import FormatError, ReadError, RowError
from telemetry.readers.azure import wall_clock_s
from telemetry.readers.rows import csv_columns, floats
from telemetry.readers.source import Source

NODE_GPUS = 8
HOUR_S = 3600.0
_HELIOS_START = "time,total_job_num,running_job_num,pending_job_num,"
_HELIOS_IDLE = "idle_gpu_num"
_HOURLY_START = "hour,"
DLRM_HEADER = (
    "instance_sn", "role", "app_name", "cpu_request", "cpu_limit", "gpu_request", "gpu_limit",
    "rdma_request", "rdma_limit", "memory_request", "memory_limit", "disk_request", "disk_limit",
    "max_instance_per_node", "creation_time", "scheduled_time", "deletion_time")


def read_helios(source: Source, *, node_gpus: int = NODE_GPUS) -> CapacityTrace:
    """Read minute samples of idle GPUs as nodes of ``node_gpus`` that can be harvested."""
    _check_size(node_gpus)
    lines, cells = csv_columns(source, ["time", _HELIOS_IDLE], source.head[0].split(","))
    times = wall_clock_s(source.label, lines, cells["time"])
    idle = floats(source.label, lines, _HELIOS_IDLE, cells[_HELIOS_IDLE])
    steps = np.diff(times)
    if not len(steps) or steps.min() <= 0 or not (idle >= 0).all():
        raise ReadError(f"{source.label} has too few rows, a step back in time or a negative "
                        "count; download it again.")
    gap = float(np.median(steps))
    counts = (idle // node_gpus).astype(np.int64)
    if not 0 < counts.max() <= MAX_NODES:
        raise ReadError(f"{source.label} never has {node_gpus} idle GPUs; give a smaller "
                        "node_gpus.")
    note = (f"Idle GPUs of the partition are read as nodes of {node_gpus} that could be harvested; "
            f"on average {float((idle % node_gpus).mean()):.1f} idle GPUs fill no node.")
    return of_counts(HELIOS.meta(source, note), HELIOS.kind, [times], [counts],
                     span_s=float(times[-1]) + gap, gap_s=gap, gpus=[node_gpus])


def read_hourly(
    source: Source, *, gpu_model: str | None = None, node_gpus: int = NODE_GPUS
) -> CapacityTrace:
    """Read hourly GPUs requested per model as demand, in nodes of ``node_gpus`` rounded up."""
    _check_size(node_gpus)
    header = source.head[0].split(",")
    lines, cells = csv_columns(source, header, header)
    models = [name for name in header[1:] if gpu_model in (None, name)]
    if not models:
        raise FormatError(f"There is no GPU model {gpu_model!r} in the table; give gpu_model= one "
                          f"of {', '.join(map(safe_model, header[1:]))}.")
    hours = floats(source.label, lines, "hour", cells["hour"])
    if len(hours) < 2 or np.any(np.diff(hours) <= 0):
        raise ReadError(f"{source.label} has hours that do not rise; sort it first.")
    counts = []
    for name in models:
        asked = floats(source.label, lines, name, cells[name])
        if not (np.isfinite(asked).all() and asked.min() >= 0 and asked.max() <= MAX_NODES):
            raise ReadError(f"{source.label} has a demand that is no count; download it again.")
        counts.append(np.ceil(asked / node_gpus).astype(np.int64))
    times = (hours - hours[0]) * HOUR_S
    note = (f"GPUs requested by active jobs are read as demand in nodes of {node_gpus}; the first "
            "and last day are distorted by the edges of the job log.")
    return of_counts(HOURLY.meta(source, note), HOURLY.kind, [times] * len(models), counts,
                     span_s=float(times[-1]) + HOUR_S, gap_s=HOUR_S,
                     models=[safe_model(name) for name in models], model=list(range(len(models))),
                     gpus=[node_gpus] * len(models))


def read_dlrm(source: Source) -> CapacityTrace:
    """Read births and deaths of instances that ask for a GPU; blank times lie outside the log."""
    lines, cells = csv_columns(source, ["gpu_request", "creation_time", "deletion_time"],
                               DLRM_HEADER)
    wants = floats(source.label, lines, "gpu_request", cells["gpu_request"]) > 0
    births = floats(source.label, lines, "creation_time", cells["creation_time"], blank=0.0)
    deaths = floats(source.label, lines, "deletion_time", cells["deletion_time"],
                    blank=float("inf"))
    bad = wants & ~((births >= 0) & (deaths >= births))
    if bad.any():
        raise RowError(source.label, lines[int(np.argmax(bad))],
                       "the instance is deleted before it is created", "drop or mend the line")
    if not wants.any():
        raise ReadError(f"{source.label} has no instance with a GPU; check the file.")
    born = lives(births[wants].tolist(), deaths[wants].tolist())
    span = float(max(births[wants].max(), deaths[wants & np.isfinite(deaths)].max(initial=0.0)))
    note = (f"{int(wants.sum())} of {len(wants)} instances ask for a GPU; they are demand in nodes "
            f"of 1, {born.slots} at most at once; blank times lie outside the log.")
    return CapacityTrace.of(DLRM.meta(source, note), DLRM.kind, span_s=span, time_s=born.time_s,
                            initial_up=born.initial_up, node=born.node, up=born.up)


def _check_size(node_gpus: int) -> None:
    if not 1 <= node_gpus <= 1024:
        raise FormatError("A node has from 1 to 1024 GPUs; give node_gpus within that.")


def _hourly_header(source: Source) -> bool:
    return not source.is_tar and bool(source.head) and source.head[0].startswith(_HOURLY_START)


HELIOS = CapacityFormat(
    name="helios", title="Helios idle GPUs of one partition (CSV)", kind="availability",
    clock="wall clock by the minute, read as seconds from the first row",
    recognises=lambda source: not source.is_tar and bool(source.head) and (
        source.head[0].startswith(_HELIOS_START)),
    read=read_helios, source="https://github.com/S-Lab-System-Group/HeliosArtifact",
    licence="MIT; underlying data CC-BY-4.0")
HOURLY = CapacityFormat(
    name="spot2026_hourly", title="hourly GPU demand per model (CSV)", kind="demand",
    clock="hours from the first row", recognises=_hourly_header, read=read_hourly,
    source="https://github.com/sultanul-ovi/GPU-Cluster-Spot-Resource-Dataset-Analysis",
    licence="MIT")
DLRM = CapacityFormat(
    name="dlrm", title="Alibaba DLRM instances (CSV)", kind="demand",
    clock="seconds from the start of the log",
    recognises=lambda source: source.begins_with(DLRM_HEADER), read=read_dlrm,
    source="https://github.com/alibaba/clusterdata", licence="not stated for that folder")
