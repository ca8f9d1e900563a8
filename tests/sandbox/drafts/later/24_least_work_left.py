"""Least work left: seconds of prefill plus seconds of decode that an instance still owes."""

OUT_GUESS = 200  # tune: 50 .. 1000
LATE_INFO = 0.2  # tune: 0 .. 2


def work_s(i):
    pre = prefill_time_s(i, i.queued_prompt_tokens + i.prefill_backlog_tokens)
    rem = i.predicted_remaining_tokens
    if is_missing(rem):
        rem = OUT_GUESS * (i.queued_requests + i.running_requests)
    dec = ratio(rem, i.decode_tokens_per_s, 0.0)
    return (pre + dec) * (1 + LATE_INFO * i.signal_age_s)


def route(request, instances, memory):
    ids = [(work_s(i), i.id) for i in instances if not i.draining and not i.starting and i.role != DECODE]
    return min(ids)[1] if ids else HOLD
