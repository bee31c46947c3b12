"""Cache-aside in two tiers, and what keeps a crowd from the database when they miss."""
