"""The unattended loop: watch, decide, evolve, gate, try out, and learn."""
