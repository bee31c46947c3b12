"""The pure core of HTTP/1.0 and 1.1 (RFC 9110, RFC 9112): bytes in, judged requests out."""
