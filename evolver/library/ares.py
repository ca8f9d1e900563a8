"""ARES: while requests decode, move those whose remaining length will overload their instance.

Paper: ARES, renamed STAR (arXiv 2510.13668).
Taken from the abstract and a summary: with prefill and decode apart, running requests are moved
between decode instances by present KV load and the predicted remaining length of each, refined
while it decodes; only requests whose KV transfer is recouped move, from overloaded to light.
Inferred: load as the peak of the predicted KV over a horizon in tokens, overload as a factor over
the mean or a knee of capacity, gain as step time saved (plus a recomputation avoided beyond the
knee), best gain per transfer time first, few moves a tick. The prediction is the door's, not the
paper's network on hidden states. Where a request decodes first is left to the default, which goes
by the KV in use: going by predicted KV alone made long tails longer in simulation.
"""

OVERLOAD = 1.2  # tune: 1.02 .. 3
KV_KNEE = 0.9  # tune: 0.5 .. 0.99
HORIZON_TOKENS = 2048.0  # tune: 64 .. 16384
PAYBACK = 2.0  # tune: 1 .. 20
NEARLY_DONE_TOKENS = 64.0  # tune: 0 .. 1024
MOVES_A_TICK = 4  # tune: 1 .. 16


def context_ahead(row, ahead):
    # KV tokens of a request after `ahead` more steps: grown, or gone because it is finished.
    if row.predicted_remaining_tokens <= ahead:
        return 0.0
    return row.context_tokens + ahead


def add_future(kv, i, row, sign):
    for h in range(8):
        kv[i, h] = kv[i, h] + sign * context_ahead(row, HORIZON_TOKENS * h / 8.0)


def peak_with(kv, i, instance, row):
    # Highest predicted share of KV capacity over the horizon, with one more request.
    most = 0.0
    for h in range(8):
        tokens = kv[i, h] + context_ahead(row, HORIZON_TOKENS * h / 8.0)
        most = max(most, ratio(tokens, instance.kv_capacity_tokens, 0.0))
    return most


def decodes(instance):
    return instance.role != PREFILL and not instance.draining and not instance.starting


def saved_s(row, source, target, source_peak):
    here_s = step_time_s(source, source.decoding_requests, source.context_tokens)
    there_s = step_time_s(
        target, target.decoding_requests + 1, target.context_tokens + row.context_tokens
    )
    saved = min(row.predicted_remaining_tokens, HORIZON_TOKENS) * (here_s - there_s)
    if source_peak > KV_KNEE:
        saved += prefill_time_s(source, row.context_tokens)
    return saved


def predict(running, instances, kv, where):
    # What the candidates do not account for stays as it is.
    for i in range(len(instances)):
        for h in range(8):
            kv[i, h] = instances[i].kv_used_tokens
    for r in range(len(running)):
        where[r] = -1.0
        for i in range(len(instances)):
            if instances[i].id == running[r].instance:
                where[r] = i
                for h in range(8):
                    kv[i, h] = kv[i, h] - running[r].context_tokens
                add_future(kv, i, running[r], 1.0)


def heaviest(instances, kv, peaks):
    # Position of the most overloaded decode instance, -1 when all are within the bounds.
    total, count, worst = 0.0, 0, -1
    for i in range(len(instances)):
        peaks[i] = 0.0
        for h in range(8):
            share = ratio(kv[i, h], instances[i].kv_capacity_tokens, 0.0)
            peaks[i] = max(peaks[i], share)
        if decodes(instances[i]):
            total += peaks[i]
            count += 1
            if worst < 0 or peaks[i] > peaks[worst]:
                worst = i
    if count < 2:
        return -1
    if peaks[worst] > OVERLOAD * total / count or peaks[worst] > KV_KNEE:
        return worst
    return -1


def migrate(running, instances, moves, memory):
    kv, peaks = zeros(len(instances) + 1, 8), zeros(len(instances) + 1)
    where = zeros(len(running) + 1)
    predict(running, instances, kv, where)
    for turn in range(16):
        source = heaviest(instances, kv, peaks)
        if source < 0 or turn >= MOVES_A_TICK:
            return
        best_row, best_target, best_worth = -1, -1, PAYBACK
        for r in range(len(running)):
            row = running[r]
            if where[r] == source and row.predicted_remaining_tokens > NEARLY_DONE_TOKENS:
                for t in range(len(instances)):
                    if t != source and decodes(instances[t]) and peaks[t] < peaks[source]:
                        gain_s = saved_s(row, instances[source], instances[t], peaks[source])
                        worth = gain_s / max(row.transfer_s, 0.001)
                        if worth > best_worth:
                            after = peak_with(kv, t, instances[t], row)
                            if after < min(peaks[source], KV_KNEE):
                                best_row, best_target, best_worth = r, t, worth
        if best_row < 0:
            return
        if not add_move(moves, running[best_row], instances[best_target].id):
            return
        add_future(kv, source, running[best_row], -1.0)
        add_future(kv, best_target, running[best_row], 1.0)
        where[best_row] = -1.0
