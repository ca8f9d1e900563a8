"""Policies inside an engine: order, victims, admission and knobs, for any scheduler."""
