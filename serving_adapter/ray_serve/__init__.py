"""The door into Ray Serve: one policy routes requests, sets replica counts, and makes plans."""
