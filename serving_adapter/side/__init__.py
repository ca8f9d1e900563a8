"""Policies in locked-down processes of their own, asked with a deadline."""
