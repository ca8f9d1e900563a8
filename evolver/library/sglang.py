"""SGLang: follow the prefix in the router's own picture of the caches while loads are even.

Paper: SGLang (arXiv 2312.07104); its router came later, and that code was read.
Taken: two modes. When the busiest engine has more requests than the idlest by an absolute and a
relative threshold, the shortest queue. Else the engine whose tree matches most, if that is more
than a share of the prompt, otherwise the one with the smallest tree. The tree is approximate:
built of what this router sent where, no engine is asked.
Inferred: records name a prompt's first block and no more, so 15 remembered first blocks, each
with its latest engine and longest prompt, stand for the tree: a match is an upper bound. Where a
door shows the caches, they count instead. A tree's size is what was sent beyond matches, halved
for all at a limit in place of LRU eviction; engines are told apart by id modulo 16.
Left out: matching within prompts that share a first block, several engines at one node.
"""

CACHE_THRESHOLD = 0.3  # tune: 0.05 .. 0.95
BALANCE_ABS_REQUESTS = 64.0  # tune: 2 .. 512
BALANCE_REL = 1.5  # tune: 1 .. 8
MOST_TREE_TOKENS = 1000000.0  # tune: 10000 .. 100000000

# memory: 0 .. 15 tree sizes; then 15 times (first block + 1, engine, tokens), from 16 on.


def load(inst):
    return 1.0 * max(inst.queued_requests, 0) + max(inst.running_requests, 0)


def place_of(request):
    return 16 + 3 * (max(request.prefix_key, 0) % 15)


def remembered_tokens(request, inst, memory):
    # Of this prompt in this router's picture of an engine's cache.
    if inst.cached_prefix_tokens >= 0:
        return 1.0 * inst.cached_prefix_tokens
    place = place_of(request)
    if request.prefix_key < 0 or memory[place] != request.prefix_key + 1.0:
        return 0.0
    if memory[place + 1] != inst.id:
        return 0.0
    return min(memory[place + 2], 1.0 * request.prompt_tokens)


def remember(request, chosen, matched, memory):
    size = chosen.id % 16
    memory[size] = memory[size] + max(request.prompt_tokens - matched, 0.0)
    if memory[size] > MOST_TREE_TOKENS:
        for k in range(16):
            memory[k] = 0.5 * memory[k]
    if request.prefix_key >= 0:
        place = place_of(request)
        tokens = 1.0 * request.prompt_tokens
        if memory[place] == request.prefix_key + 1.0 and memory[place + 1] == chosen.id:
            tokens = max(tokens, memory[place + 2])
        memory[place] = request.prefix_key + 1.0
        memory[place + 1] = 1.0 * chosen.id
        memory[place + 2] = tokens


def route(request, instances, memory):
    idlest, nearest, smallest = 0, 0, 0
    most, longest = 0.0, -1.0
    for i in range(len(instances)):
        most = max(most, load(instances[i]))
        if load(instances[i]) < load(instances[idlest]):
            idlest = i
        matched = remembered_tokens(request, instances[i], memory)
        if matched > longest:
            nearest, longest = i, matched
        if memory[instances[i].id % 16] < memory[instances[smallest].id % 16]:
            smallest = i
    least = load(instances[idlest])
    place = smallest
    if most - least > BALANCE_ABS_REQUESTS and most > BALANCE_REL * least:
        place = idlest
    elif longest > CACHE_THRESHOLD * request.prompt_tokens:
        place = nearest
    chosen = instances[place]
    remember(request, chosen, remembered_tokens(request, chosen, memory), memory)
    return chosen.id
