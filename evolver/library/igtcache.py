"""IGTCache: find out how a kind of prefix is asked for, and keep what that pattern will ask again.

Paper: IGTCache (arXiv 2506.12370), a cache of files for AI clusters; its abstract was read.
Taken: accesses are grouped in a tree, a statistical test calls each group's pattern sequential,
random or skewed, and each pattern has its own way of prefetching, evicting and sharing space.
Inferred, the analogue for prefixes: three groups by place in the tree, beginnings shared by many
(depth 0), what follows them outside sessions, and what sessions grew; the index of dispersion of
their hits as the test, for under chance it is 1; skewed groups go by how often, random ones by
nothing but their group's rate of return, sessions by how long they have been silent against the
rate at which they return. That rate is returns over idle entries seen at control ticks.
Left out: prefetching, space by group, and deeper levels of the tree.
"""

SIGNIFICANCE = 2.0  # tune: 0.5 .. 6
FEWEST_SAMPLES = 30.0  # tune: 5 .. 500
FORGET_AT = 2000.0  # tune: 100 .. 100000
SILENT_S = 120.0  # tune: 5 .. 3600
QUEUED_BONUS = 100.0  # tune: 1 .. 10000
TICK_S = 1.0  # tune: 0.1 .. 10

# Engine memory, 8 slots a group: 0 releases, 1 sum of hits, 2 sum of their squares, 3 idle entries
# seen at ticks, 4 their ages summed, 5 releases of entries that had been used before.


def group_of(entry):
    if entry.depth_tokens <= 0:
        return 0
    if entry.session >= 0:
        return 16
    return 8


def remember(entry, memory, group):
    age_s = entry.age_s
    if is_missing(age_s):
        return
    if age_s <= 0.0:
        hits = 1.0 * max(entry.hits, 0)
        memory[group] = memory[group] + 1.0
        memory[group + 1] = memory[group + 1] + hits
        memory[group + 2] = memory[group + 2] + hits * hits
        if hits > 1.0:
            memory[group + 5] = memory[group + 5] + 1.0
    else:
        memory[group + 3] = memory[group + 3] + 1.0
        memory[group + 4] = memory[group + 4] + age_s
    if memory[group] > FORGET_AT:
        for slot in range(6):
            memory[group + slot] = 0.5 * memory[group + slot]


def is_skewed(memory, group):
    # Chi-square test of the index of dispersion, as a normal deviate.
    count = memory[group]
    if count < FEWEST_SAMPLES or memory[group + 1] <= 0.0:
        return False
    mean = memory[group + 1] / count
    variance = memory[group + 2] / count - mean * mean
    return (variance / mean - 1.0) * sqrt(0.5 * count) > SIGNIFICANCE


def return_rate(memory, group):
    # Returns per second and idle entry; what was never seen is taken to come back in SILENT_S.
    idle_s = memory[group + 3] * TICK_S
    return (memory[group + 5] + 1.0) / (idle_s + SILENT_S)


def evict(entry, instance, memory):
    group = group_of(entry)
    remember(entry, memory, group)
    age_s = 0.0
    if entry.age_s > 0.0:
        age_s = entry.age_s
    rate = return_rate(memory, group)
    worth = rate
    if group == 16:
        # A conversation that has been silent for long against others is over.
        worth = rate * exp(-age_s / SILENT_S)
    elif is_skewed(memory, group):
        mean = ratio(memory[group + 1], memory[group], 1.0)
        worth = rate * ratio(max(entry.hits, 0), mean, 1.0) * SILENT_S / (SILENT_S + age_s)
    saved = ratio(entry.load_s, 1.0 * entry.tokens, 0.0)
    if saved > 0.0:
        worth = worth * saved * 1e6
    if entry.users > 0:
        worth += QUEUED_BONUS * (1.0 + entry.users)
    return worth
