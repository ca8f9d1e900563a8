"""Offline and fine-tuning shares as a slow controller on online slack."""

GAIN = 0.2  # tune: 0.02 .. 1.0
TARGET = 0.8  # tune: 0.4 .. 0.98
FT_MAX = 0.5  # tune: 0.0 .. 0.9


def tune(instance: Instance, memory: Memory) -> None:
    # memory[0] is the integral, kept between 0 and 1
    slo, step = instance.tpot_slo_s, instance.step_time_s
    if is_missing(slo) or is_missing(step):
        error = 0.5
    else:
        error = TARGET - step / slo
    if instance.queued_requests > instance.offline_requests + 4:
        error -= 0.3
    memory[0] = clip(memory[0] + GAIN * error, 0.0, 1.0)
    share = memory[0]
    set_offline_share(instance, share if instance.offline_requests > 0 else 0.0)
    set_finetune_share(instance, min(FT_MAX, share * 0.5) if instance.offline_requests == 0 else 0.0)
