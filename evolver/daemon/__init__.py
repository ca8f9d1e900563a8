"""Watches a cluster, evolves when it is worth its price, and follows what becomes of it.

Reading guide:

1. `core`: one turn of the daemon, its four steps, and why each may be cut short anywhere.
2. `deciding`: whether a search is worth its price, as one pure function with its reasons.
3. `protocols`: what the core stands on; `parts` puts the usual ones together from a `config`:
   `segment_windows` (what arrived), `grounds` (what the cluster is), `shift` (whether it changed),
   `searching` (a search in a process of its own, which is `search_process`).
4. `service`: the process around it: lease, health, metrics, signals; `pages` is what it serves.

It runs beside a cluster and is in nobody's way: hosts follow a signed file, whoever writes it. It
approves nothing by itself: installed rules do, and what they leave open is left to a person.
"""
