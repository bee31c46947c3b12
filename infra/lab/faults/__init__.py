"""Faults between and inside services: each proves that it landed, and is undone in any case."""
