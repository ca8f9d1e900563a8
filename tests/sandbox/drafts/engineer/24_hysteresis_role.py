"""Hysteresis trigger: replan only after pressure stayed outside a band for several windows."""

HIGH = 0.88  # tune: 0.6 .. 0.99
LOW = 0.45  # tune: 0.1 .. 0.6
PATIENCE = 3  # tune: 1 .. 20
COOLDOWN_S = 240.0  # tune: 10 .. 3600

# planner memory
UP = 0
DOWN = 1


def pressure(window):
    p = 0.0
    if not is_missing(window.kv_pressure_max):
        p = window.kv_pressure_max
    if not is_missing(window.busy):
        p = max(p, window.busy)
    return p


def should_reschedule(window, cluster, plan, memory):
    p = pressure(window)
    memory[UP] = memory[UP] + 1 if p > HIGH else 0
    memory[DOWN] = memory[DOWN] + 1 if p < LOW else 0
    if not window.plan_feasible:
        return True
    if window.since_plan_s < COOLDOWN_S:
        return False
    return memory[UP] >= PATIENCE or memory[DOWN] >= PATIENCE
