"""A click: made at the redirect, kept in the log, carried to Kafka."""
