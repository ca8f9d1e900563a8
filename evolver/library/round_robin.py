"""Round robin: instances take turns in the order of their ids, whatever their load.

The idea is the oldest load balancer there is. Each router keeps its own turn.
"""


def route(request, instances, memory):
    # memory[0] is the lowest id whose turn is still to come in this round.
    first = instances[0].id
    turn = -1
    for inst in instances:
        first = min(first, inst.id)
        if inst.id >= memory[0] and (turn < 0 or inst.id < turn):
            turn = inst.id
    if turn < 0:
        turn = first
    memory[0] = turn + 1
    return turn
