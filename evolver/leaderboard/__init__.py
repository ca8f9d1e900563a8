"""The field's evaluations as scenarios, and who does how well on them.

Reading guide:

1. `spec` - what a scenario file says (`scenarios/*.toml`, one per published evaluation).
2. `traffic` - its requests, read or drawn; `workflows` - calls that wait for each other.
3. `reading` - finds and reads files; `ground` - lays one out: traffic at its load on the cluster,
   with capacity that comes and goes.
4. `measures` - the numbers that a scenario may be judged by; `sustained` - rates that are kept up.
5. `arms` - system and baseline; `effects` - does the system show its effect there, and none where
   it must not? `effect_tables` says so.
6. `contest` - everyone on one scenario: who takes part (`entrants`, their code in `shelf`), what
   runs them (`runs`), `tuning`, and `evolving` from there.
7. `jobs` - a locked-down process for each contest; `ratios`, `standings` and `board` say what came
   of them all.
"""
