"""Rows by column for calling a policy's hooks by hand, and the library's policies loaded once."""

import functools
import math

import numpy as np

from evolver import library
from sandbox import contract, records
from sandbox.engine import load_policy
from sandbox.frame import Caller
from sandbox.verifier import verify


@functools.cache
def source(name):
    return verify(library.read(name), name)


@functools.cache
def loaded(name, engine):
    return load_policy(source(name), engine=engine)


def caller(name, engine="interpreted"):
    return Caller(loaded(name, engine))


def forget(made):
    for field in made.dtype.names:
        if made[field].dtype.names:
            forget(made[field])
        elif made[field].dtype == np.float64:
            made[field] = math.nan
    return made


def rows(record, count, **columns):
    """Rows with every float missing, overwritten by columns; a scalar fills its column."""
    made = forget(records.new_rows(record, count))
    for field, values in columns.items():
        made[field] = values
    return made


def instances(count, **columns):
    base = {
        "id": [10 + 7 * i for i in range(count)],
        "prefill_tokens_per_s": 10_000.0,
        "step_base_s": 0.01,
        "step_per_seq_s": 0.0001,
        "step_per_context_s": 1e-8,
        "step_time_s": 0.01,
        "kv_capacity_tokens": 100_000,
        "cached_prefix_tokens": -1,
        "length_high_tokens": 2**31,
    }
    return rows(contract.Instance, count, **{**base, **columns})


def request(**columns):
    base = {"now_s": 100.0, "age_s": 0.0, "prompt_tokens": 1000, "last_instance": -1}
    return rows(contract.Request, 1, **{**base, **columns})


def window(**columns):
    made = rows(contract.Window, 1, plan_feasible=True, since_plan_s=0.0)
    every = made["classes"][0, 0]
    made["n_classes"] = 1
    every["rate_rps"], every["prompt_mean_tokens"], every["output_mean_tokens"] = 4.0, 900.0, 100.0
    for field, value in columns.items():
        (every if field in every.dtype.names else made[0])[field] = value
    return made


def cluster(gpus=8, rates=((1, 1.0), (4, 6.0)), leaving=0, start_s=30.0):
    """One pool; `rates` gives each shape's TP and the requests per second it sustains."""
    made = rows(contract.Cluster, 1, n_pools=1, n_shapes=len(rates))
    pool = made["pools"][0, 0]
    pool["present"], pool["leaving"], pool["node_size"] = gpus, leaving, 8
    for shape, (tp, rate) in zip(made["shapes"][0], rates, strict=False):
        shape["tp"], shape["pp"], shape["gpus"], shape["rate_rps"] = tp, 1, tp, rate
        shape["latency_s"], shape["start_s"] = 8.0 / tp, start_s
        shape["fits_now"] = gpus // tp
    return made


def plan_of(*tps):
    made = rows(contract.Plan, 1, n_replicas=len(tps))
    for replica, tp in zip(made["replicas"][0], tps, strict=False):
        replica["tp"], replica["pp"] = tp, 1
    return made


def planned(name, at, hardware, plan):
    """TPs of the plan that a policy makes, and whether it says to keep the present one."""
    new_plan = rows(contract.Plan, 1)
    caller(name).schedule(at, hardware, plan, new_plan)
    filled = new_plan["replicas"][0, : new_plan["n_replicas"][0]]
    return [int(tp) for tp in filled["tp"]], bool(new_plan["keep"][0])
