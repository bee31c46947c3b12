"""The algorithms once more, as Lua that runs inside Valkey.

A script is one step to Valkey: nobody else's command comes in between, so any number of replicas
count as one, at the cost of one round trip. Each script touches a single key (a cluster could hold
it anywhere) and takes the time from Valkey, so the replicas' clocks do not matter. Keys expire when
they have nothing left to say. What Lua calculates with are doubles, exact for whole numbers up to
2**53: microseconds since 1970 reach that in the year 2255.

https://valkey.io/topics/eval-intro/
"""

from typing import Final

from week04_shortener.limits.algorithms import FixedWindow, Policy, SlidingWindow, TokenBucket

# A key lives a second longer than it says anything: expiry is counted in ms, and rounds.
PRELUDE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local longer_ms = 1000
"""

_TOKEN_BUCKET: Final = """
local interval, capacity, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local known = tonumber(redis.call('GET', KEYS[1]) or 0)
local full_at = math.max(now, math.min(known, now + capacity))
local wait = full_at + cost * interval - now - capacity
if wait <= 0 then full_at = full_at + cost * interval end
if wait <= 0 or known > full_at then
    redis.call('SET', KEYS[1], full_at, 'PX', math.ceil((full_at - now) / 1000) + longer_ms)
end
local lacking = full_at - now
local reset = 0
if lacking > 0 then reset = (lacking - 1) % interval + 1 end
local remaining = math.floor((capacity - lacking) / interval)
return {wait <= 0 and 1 or 0, remaining, reset, math.max(0, wait)}
"""

# A list of times, and not the sorted set that is often used: MEMORY USAGE says 10 bytes for each
# take, where the set needs 76. What has left the window is looked for in steps of 1, 2, 4, ... 128:
# mostly it is one or none, after a burst it is thousands.
_SLIDING_WINDOW: Final = """
local quota, window, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local newest = tonumber(redis.call('LINDEX', KEYS[1], -1) or 0)
if newest > now then
    if newest - now >= window then redis.call('DEL', KEYS[1]) else now = newest end
end
local step = 1
repeat
    local over = 0
    for _, taken_at in ipairs(redis.call('LRANGE', KEYS[1], 0, step - 1)) do
        if tonumber(taken_at) > now - window then break end
        over = over + 1
    end
    if over > 0 then redis.call('LPOP', KEYS[1], over) end
    local perhaps_more = over == step
    step = math.min(step * 2, 128)
until not perhaps_more
local taken = redis.call('LLEN', KEYS[1])
local surplus = taken + cost - quota
local retry = 0
if surplus <= 0 then
    for _ = 1, cost do redis.call('RPUSH', KEYS[1], now) end
    redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000) + longer_ms)
    taken = taken + cost
else
    retry = tonumber(redis.call('LINDEX', KEYS[1], surplus - 1)) + window - now
end
local oldest = tonumber(redis.call('LINDEX', KEYS[1], 0))
return {surplus <= 0 and 1 or 0, quota - taken, oldest + window - now, retry}
"""

_FIXED_WINDOW: Final = """
local quota, window, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local number = math.floor(now / window)
local left = window - now % window
local state = redis.call('HMGET', KEYS[1], 'window', 'taken')
local taken = 0
if tonumber(state[1] or -1) == number then taken = tonumber(state[2]) end
local allowed = taken + cost <= quota
if allowed then
    taken = taken + cost
    redis.call('HSET', KEYS[1], 'window', number, 'taken', taken)
    redis.call('PEXPIRE', KEYS[1], math.ceil(left / 1000) + longer_ms)
end
return {allowed and 1 or 0, quota - taken, taken > 0 and left or 0, allowed and 0 or left}
"""

_BODIES: Final[dict[type[Policy], str]] = {
    TokenBucket: _TOKEN_BUCKET,
    SlidingWindow: _SLIDING_WINDOW,
    FixedWindow: _FIXED_WINDOW,
}


def script_for(kind: type[Policy], *, prelude: str = PRELUDE) -> str:
    """The Lua of a kind of policy: one key; `arguments` and the cost; see `Decision` for what
    comes back, allowed as 1 or 0.

    `prelude` sets the time, and for how much longer keys stay; tests choose both.
    """
    return prelude + _BODIES[kind]


def arguments(policy: Policy, cost: int) -> tuple[int, int, int]:
    """What the policy's script is called with."""
    if isinstance(policy, TokenBucket):
        return policy.interval_us, policy.window_us, cost
    return policy.quota, policy.window_us, cost
