"""Where connections come from: listening sockets, TLS, and who is really at the other end."""
