"""MLFQ by tokens generated, with skip-join by prompt length and protection once preempted."""

QUANTA = (32, 128, 512, 2048)
PROMPT_STEPS = (512, 2048, 8192)
BOOST_S = 20.0  # tune: 2 .. 200
SPREAD = 1000.0


def queue_level(request):
    by_prompt = sum(1 for p in PROMPT_STEPS if request.prompt_tokens > p)
    by_done = len(QUANTA)
    for k, q in enumerate(QUANTA):
        if request.done_tokens < q:
            by_done = k
            break
    return max(by_prompt, by_done)


def priority(request, instance, memory):
    lvl = queue_level(request)
    if request.preempted_count > 0:
        lvl -= min(request.preempted_count, 2)
    lvl -= int(request.age_s / BOOST_S) if lvl > 0 else 0
    lvl = max(lvl, 0)
    if request.deadline_s < 1.0:
        lvl = 0
    return lvl * SPREAD + clip(-request.age_s, -SPREAD + 1, 0)
