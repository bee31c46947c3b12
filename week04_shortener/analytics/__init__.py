"""What becomes of clicks: counted once, or put aside as dead letters."""
