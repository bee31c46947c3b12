"""Week 1: an HTTP/1.1 server, from a raw socket up to ASGI on uvloop and httptools."""
