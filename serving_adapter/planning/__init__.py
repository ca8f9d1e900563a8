"""Asks the live policy whether to plan and what, off the data path, and checks what it wants."""
