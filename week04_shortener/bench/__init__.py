"""Warm redirects beside the same endpoint written plainly, with nginx alone as the floor.

`make week04 bench` runs `python -m week04_shortener.bench`; a mixed load of users is
`python -m week04_shortener.bench.mixed`.
"""
