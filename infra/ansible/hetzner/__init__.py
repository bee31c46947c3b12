"""Servers at Hetzner: made, listed as an inventory, and removed."""
