"""Week 4: a URL shortener with a cache in front of its database and a queue behind its clicks."""
