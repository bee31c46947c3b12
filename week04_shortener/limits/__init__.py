"""Limits on callers: how much of something each may take, counted once for all replicas.

Reading order: `algorithms` (pure, the idea), `scripts` (the same in Lua, inside Valkey),
`counters` (where the counting is done), `limiter` (which of them is asked), `rules` (what falls
under which limit), `headers` and `middleware` (what HTTP sees of it).
"""
