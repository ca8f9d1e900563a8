"""Hands for plans: what is to be done is computed purely, then carried out step by step."""
