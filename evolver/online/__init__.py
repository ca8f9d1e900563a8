"""The online experiment: a long trace replayed as if live, with the control plane in the loop.

Reading guide:

1. `pairs` - which requests meet which capacity (`pairs.toml`), each scaling factor with its reason.
2. `course` - one run of a pair in stretches: who decides from when on, and what is seen on the way.
3. `past` - what a controller may know at a monitoring point: ended work, past capacity.
4. `thinking` - one search on the past by the product's own loop, and what it costs in seconds.
5. `statics` - the library's planners, constants tuned on some stretch: whom to beat.
6. `arms` - all arms of a pair under one seed; `splits` - where their time went, by regime.
7. `experiment` - all pairs and seeds in processes of their own; `comparison`, `tables`, `figures`.

Time is the simulation's: proposals are charged for in simulated seconds, and new code enters at the
first monitoring point after its charge has passed. Decisions are the planner's alone (trigger and
planner); everything else is the default policy's in every arm.
"""
