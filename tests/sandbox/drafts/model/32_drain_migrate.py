"""Empty draining and leaving replicas before their grace ends, first-fit decreasing into free KV."""

LEAD = 1.5  # tune: 1.0 .. 5.0
FILL = 0.9  # tune: 0.5 .. 1.0


def finishes_in_time(r, src):
    if is_missing(src.grace_s):
        return False
    left = 512.0 if is_missing(r.predicted_remaining_tokens) else r.predicted_remaining_tokens
    step = 0.05 if is_missing(src.step_time_s) else src.step_time_s
    return left * step * LEAD < src.grace_s


def migrate(running, instances, moves, memory):
    sources = [x for x in instances if x.draining or not is_missing(x.grace_s)]
    targets = [x for x in instances if not x.draining and not x.starting and is_missing(x.grace_s) and x.role != PREFILL]
    if not sources or not targets:
        return
    room = [FILL * t.kv_capacity_tokens - t.kv_used_tokens for t in targets]
    seats = [t.max_num_seqs - t.running_requests - t.queued_requests for t in targets]

    for src in sources:
        mine = [r for r in running if r.instance == src.id and not finishes_in_time(r, src)]
        mine.sort(key=lambda r: r.context_tokens, reverse=True)
        spent = 0.0
        for r in mine:
            if not is_missing(src.grace_s) and spent + r.transfer_s > src.grace_s:
                break
            for k in range(len(targets)):
                if seats[k] > 0 and room[k] >= r.context_tokens:
                    if not add_move(moves, r, targets[k].id):
                        return
                    room[k] -= r.context_tokens
                    seats[k] -= 1
                    spent += r.transfer_s
                    break
