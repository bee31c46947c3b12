"""One module per real server: how it is found, configured, started, probed and stopped."""
