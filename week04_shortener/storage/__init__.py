"""Links, keys and visits in PostgreSQL, and the outbox that tells others of changes."""
