"""What watches a live policy, takes it out, and keeps it out; see `docs/live-safety.md`."""
