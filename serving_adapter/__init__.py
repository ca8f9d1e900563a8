"""serving_adapter."""
