"""What a policy was really told, beside what a door's signal profile says."""

import numpy as np

from sandbox import contract
from sandbox.records import dtype_of

PAGE = """
vllm:num_requests_running 3
vllm:num_requests_waiting 1
vllm:kv_cache_usage_perc 0.25
vllm:num_preemptions_total 2
vllm:cache_config_info{block_size="16",num_gpu_blocks="4096"} 1
"""


def rows_of(host):
    """Request and first instance row of the latest decision."""
    given = host.recent[-1]
    return {
        name: np.frombuffer(rows, dtype_of(getattr(contract, name)))[0]
        for name, rows in (("Request", given.request), ("Instance", given.instances))
    }


def wrongly_told(profile, rows):
    """Fields that were told although the profile has them missing, or the other way round."""
    wrong = []
    for record, row in rows.items():
        for field in row.dtype.names:
            kind, value = row.dtype[field].kind, row[field]
            if kind == "b" and f"{record}.{field}" in profile.known:
                continue  # False may be an answer
            missing = bool(np.isnan(value)) if kind == "f" else value == (-1 if kind == "i" else 0)
            constant = profile.constants.get(record, {}).get(field)
            told = value == constant if constant is not None else not missing
            if told != (constant is not None or f"{record}.{field}" in profile.known):
                wrong.append(f"{record}.{field} = {value}")
    return wrong
