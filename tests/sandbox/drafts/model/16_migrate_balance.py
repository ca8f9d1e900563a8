"""Migrate from the fullest to the emptiest replica, cheap long-lived requests first."""

HIGH = 0.9  # tune: 0.6 .. 0.99
GAP = 0.25  # tune: 0.05 .. 0.6
MAX_MOVES = 4  # tune: 1 .. 16
MAX_TRANSFER_S = 1.0  # tune: 0.05 .. 5.0
MIN_LEFT = 64.0  # tune: 8 .. 512


def pressure(inst: Instance) -> float:
    return ratio(inst.kv_used_tokens, inst.kv_capacity_tokens, 1.0)


def extremes(instances: Rows[Instance]) -> tuple[Instance | None, Instance | None]:
    hot, cold = None, None
    for inst in instances:
        if inst.starting or inst.role == PREFILL:
            continue
        if hot is None or pressure(inst) > pressure(hot):
            hot = inst
        if not inst.draining and (cold is None or pressure(inst) < pressure(cold)):
            cold = inst
    return hot, cold


def worth(r: Running) -> bool:
    if not r.decoding or r.moved_count >= 2 or r.transfer_s > MAX_TRANSFER_S:
        return False
    return is_missing(r.predicted_remaining_tokens) or r.predicted_remaining_tokens >= MIN_LEFT


def migrate(running: Rows[Running], instances: Rows[Instance], moves: Moves, memory: Memory) -> None:
    hot, cold = extremes(instances)
    if hot is None or cold is None or hot.id == cold.id:
        return
    if pressure(hot) < HIGH or pressure(hot) - pressure(cold) < GAP:
        return

    candidates = [r for r in running if r.instance == hot.id and worth(r)]
    candidates = sorted(candidates, key=lambda r: (r.transfer_s, -r.context_tokens))
    hot_used, cold_used = hot.kv_used_tokens, cold.kv_used_tokens
    for r in candidates[:MAX_MOVES]:
        hot_after = (hot_used - r.context_tokens) / hot.kv_capacity_tokens
        cold_after = (cold_used + r.context_tokens) / cold.kv_capacity_tokens
        if cold_after > hot_after:
            continue
        if not add_move(moves, r, cold.id):
            break
        hot_used -= r.context_tokens
        cold_used += r.context_tokens
