"""Following a link: the quick way, and the one through a password or a limit."""
