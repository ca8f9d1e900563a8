"""The history of the store's tables, run by Alembic through `policy_store.schema`."""
