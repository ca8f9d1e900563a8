"""Move the longest-lived small requests from the fullest to the emptiest engine, few at a time."""

HOT = 0.9  # tune: 0.6 .. 0.99
COLD = 0.6  # tune: 0.2 .. 0.85
MAX_MOVES = 4  # tune: 1 .. 16
MAX_TRANSFER_S = 0.5  # tune: 0.05 .. 5.0
MIN_LEFT = 64  # tune: 8 .. 512


def fill(inst):
    return ratio(inst.kv_used_tokens, inst.kv_capacity_tokens, 0.0)


def migrate(running, instances, moves, memory):
    ok = [i for i in instances if not i.starting]
    if len(ok) < 2:
        return

    hot = sorted([i for i in ok if i.draining or fill(i) > HOT], key=fill, reverse=True)
    cold = sorted([i for i in ok if not i.draining and fill(i) < COLD and i.role != PREFILL], key=fill)
    if not hot or not cold:
        return

    done = 0
    for source in hot:
        candidates = [r for r in running
                      if r.instance == source.id
                      and r.decoding
                      and r.moved_count < 2
                      and r.transfer_s <= MAX_TRANSFER_S
                      and (is_missing(r.predicted_remaining_tokens) or r.predicted_remaining_tokens >= MIN_LEFT)]
        candidates = sorted(candidates, key=lambda r: r.context_tokens)
        for r, target in zip(candidates, cold):
            if done >= MAX_MOVES:
                return
            if target.kv_used_tokens + r.context_tokens > COLD * target.kv_capacity_tokens:
                continue
            if add_move(moves, r, target.id):
                done += 1
