"""The HTTP API: one file for each idea, joined in `routes`."""
