"""A local engine with the timing of a real one, fleets of them, and load to send to them."""
