"""The scripts of a Redis that counts: each is one step there. They take one message in MessagePack and return another.

`ADMIT` mirrors `extproc.limits.counters.decide` and `extproc.limits.spending.decide` as far as writing depends on
them; the caller makes the decision of what it returns, by these. Time is the server's own. A bucket is kept as the two
times at which it is full, in nanoseconds, of which a script sees the differences to now: Lua's numbers are exact to
2**53 only.

| key, after `{prefix}:` | what it has                                            | gone after           |
|------------------------|--------------------------------------------------------|----------------------|
| `rate:SCOPE`           | when the buckets of requests and tokens are full again | then                 |
| `streams:SCOPE`        | open streams by call, each with the end of its lease   | 60 s without one     |
| `account:KEY`          | what is spent and held of a budget in a window         | a day after its end  |
| `group:KEY`            | number of accounts of users in a window                | a day after its end  |
| `holds:WORKER`         | open calls: by account what they hold, and cost so far | their ends           |
| `ended:CALL`           | what has been added for a call that is over            | 10 minutes, or a day |
| `told:KEY`             | that something was logged                              | the window's end     |
| `workers`              | the workers, each with its latest sign of life         | 15 s without one     |

Decision: docs/decisions.md, D251.
"""

from typing import Final

from extproc.limits.gcra import LONGEST_DEBT, MINUTE
from extproc.worker.redis_client import Script

LEASE_MS: Final = 15_000
"""Milliseconds without a sign of life after which a worker's streams and holds are settled."""

_PRELUDE: Final = (
    f"""
local MINUTE, LONGEST, LEASE, DAY = {MINUTE}, {LONGEST_DEBT}, {LEASE_MS}, 86400
local P, M = KEYS[1], cmsgpack.unpack(ARGV[1])
local t = redis.call('TIME')
local now_s, now_n = tonumber(t[1]), tonumber(t[2]) * 1000
local now_ms = now_s * 1000 + math.floor(now_n / 1000000)
"""
    + r"""
local function debt(text)
  if not text then return 0 end
  local d = (tonumber(string.sub(text, 1, -10)) - now_s) * 1e9 + tonumber(string.sub(text, -9)) - now_n
  return math.min(math.max(d, 0), LONGEST)
end
local function full_at(d)
  local n = now_n + d
  local s = math.floor(n / 1e9)
  return string.format('%d%09d', now_s + s, n - s * 1e9)
end
local function bucket(scope)
  local text = redis.call('GET', P .. 'rate:' .. scope)
  return debt(text and string.match(text, '^%d+')), debt(text and string.match(text, '%d+$'))
end
local function set_bucket(scope, r, k)
  local ms = math.floor(math.max(r, k) / 1000000) + 1000
  redis.call('SET', P .. 'rate:' .. scope, full_at(r) .. ' ' .. full_at(k), 'PX', string.format('%d', ms))
end
local function balance(key)
  local text = redis.call('GET', P .. 'account:' .. key)
  if not text then return nil end
  return {tonumber(string.match(text, '^-?%d+')), tonumber(string.match(text, '-?%d+$'))}
end
local function add(key, spent, held, ends)
  local old = balance(key) or {0, 0}
  local text = string.format('%.0f %.0f', old[1] + spent, math.max(old[2] + held, 0))
  redis.call('SET', P .. 'account:' .. key, text, 'EXAT', string.format('%.0f', math.max(ends, now_s) + DAY))
end
"""
)

ADMIT: Final = Script(
    _PRELUDE
    + r"""
local worker, call, most, stream, scopes, charges = unpack(M)
local fits, buckets = true, {}
for i, scope in ipairs(scopes) do
  local key, requests, tokens, streams = unpack(scope)
  local r, k = bucket(key)
  local open = 0
  if stream and streams > 0 then
    redis.call('ZREMRANGEBYSCORE', P .. 'streams:' .. key, '-inf', now_ms)
    open = redis.call('ZCARD', P .. 'streams:' .. key)
  end
  if (requests >= 0 and r + requests > MINUTE) or (tokens >= 0 and k + tokens > MINUTE)
    or (stream and streams > 0 and open >= streams) then
    fits = false
  end
  buckets[i] = {r, k, open}
end
if fits then
  for i, scope in ipairs(scopes) do
    local key, requests, tokens, streams = unpack(scope)
    set_bucket(key, buckets[i][1] + math.max(requests, 0), buckets[i][2] + math.max(tokens, 0))
    if stream and streams > 0 then
      redis.call('ZADD', P .. 'streams:' .. key, now_ms + LEASE, call)
      redis.call('PEXPIRE', P .. 'streams:' .. key, 4 * LEASE)
    end
  end
end
local balances, crowded, holds = {}, false, {}
if fits and #charges > 0 then
  local held = redis.call('EXISTS', P .. 'ended:' .. call) == 0
    and redis.call('HEXISTS', P .. 'holds:' .. worker, call) == 0
  for i, charge in ipairs(charges) do
    local key, limit, amount, ends, counted, enforced, group = unpack(charge)
    local found = balance(key)
    balances[i] = found or {0, 0}
    if enforced and amount > limit - balances[i][1] - balances[i][2] then held = false end
    if not found and group ~= '' and tonumber(redis.call('GET', P .. 'group:' .. group) or 0) >= most then
      if enforced then crowded = true end
    else
      holds[#holds + 1] = {key, amount, counted, ends, not found and group or ''}
    end
  end
  if held and not crowded then
    for _, hold in ipairs(holds) do
      add(hold[1], 0, hold[2], hold[4])
      if hold[5] ~= '' then
        redis.call('INCR', P .. 'group:' .. hold[5])
        redis.call('EXPIREAT', P .. 'group:' .. hold[5], string.format('%.0f', hold[4] + DAY))
      end
    end
    redis.call('HSET', P .. 'holds:' .. worker, call, cmsgpack.pack(holds))
    redis.call('ZADD', P .. 'workers', now_ms, worker)
  end
end
return cmsgpack.pack({buckets, balances, crowded})
"""
)
"""Admit a request: `[worker, call, most of a group, stream, [[scope, cost of requests or -1, of tokens, most streams]],
[[account, limit, amount, end, counted, enforced, group]]]`. Returns `[[[requests, tokens, streams]], [[spent, held]],
crowded]`, all as they were before. Budgets are asked only where the rates admit."""

_SETTLE: Final = r"""
local function settle(worker, call, accounts, costs, seconds)
  local text = redis.call('HGET', P .. 'holds:' .. worker, call)
  if text then
    local cost_of = {}
    for i, account in ipairs(accounts) do cost_of[account[1]] = costs[i] end
    for _, hold in ipairs(cmsgpack.unpack(text)) do add(hold[1], cost_of[hold[1]] or 0, -hold[2], hold[4]) end
    redis.call('HDEL', P .. 'holds:' .. worker, call)
  else
    local before = redis.call('GET', P .. 'ended:' .. call)
    before = before and cmsgpack.unpack(before) or {}
    for i, account in ipairs(accounts) do
      local change = costs[i] - (before[account[1]] or 0)
      if change ~= 0 then add(account[1], change, 0, account[2]) end
    end
  end
  local all = {}
  for i, account in ipairs(accounts) do all[account[1]] = costs[i] end
  redis.call('SET', P .. 'ended:' .. call, cmsgpack.pack(all), 'EX', seconds)
end
"""

END: Final = Script(
    _PRELUDE
    + _SETTLE
    + r"""
local worker, ends = unpack(M)
for _, each in ipairs(ends) do
  local call, moved, released, accounts, costs = unpack(each)
  for _, move in ipairs(moved) do
    local r, k = bucket(move[1])
    set_bucket(move[1], r, math.min(math.max(k + move[2], 0), LONGEST))
  end
  for _, scope in ipairs(released) do redis.call('ZREM', P .. 'streams:' .. scope, call) end
  if #accounts > 0 then settle(worker, call, accounts, costs, 600) end
end
return 1
"""
)
"""Settle calls that are over: `[worker, [[call, [[scope, change of tokens' bucket]], [scopes of its stream], [[account,
end]], [costs]]]]`. What is settled twice counts once, but for the changes of buckets."""

BEAT: Final = Script(
    _PRELUDE
    + _SETTLE
    + r"""
local worker, streams, running, accounts = unpack(M)
redis.call('ZADD', P .. 'workers', now_ms, worker)
for _, each in ipairs(streams) do
  local key = P .. 'streams:' .. each[1]
  for _, call in ipairs(each[2]) do redis.call('ZADD', key, now_ms + LEASE, call) end
  redis.call('PEXPIRE', key, 4 * LEASE)
end
local unknown = {}
for _, each in ipairs(running) do
  local call, costs = each[1], each[2]
  local text = redis.call('HGET', P .. 'holds:' .. worker, call)
  if text then
    local holds = cmsgpack.unpack(text)
    for _, hold in ipairs(holds) do hold[3] = costs[hold[1]] or hold[3] end
    redis.call('HSET', P .. 'holds:' .. worker, call, cmsgpack.pack(holds))
  elseif redis.call('EXISTS', P .. 'ended:' .. call) == 0 then
    unknown[#unknown + 1] = call
  end
end
local dead = redis.call('ZRANGE', P .. 'workers', '-inf', now_ms - LEASE - 1, 'BYSCORE', 'LIMIT', 0, 1)[1]
if dead then
  local calls = redis.call('HKEYS', P .. 'holds:' .. dead)
  for i = 1, math.min(#calls, 200) do
    local accounts, costs = {}, {}
    for j, hold in ipairs(cmsgpack.unpack(redis.call('HGET', P .. 'holds:' .. dead, calls[i]))) do
      accounts[j], costs[j] = {hold[1], hold[4]}, hold[3]
    end
    settle(dead, calls[i], accounts, costs, DAY)
  end
  if #calls <= 200 then redis.call('ZREM', P .. 'workers', dead) end
end
local balances = {}
for i, account in ipairs(accounts) do balances[i] = balance(account) or {0, 0} end
return cmsgpack.pack({redis.call('ZCARD', P .. 'workers'), unknown, balances})
"""
)
"""Show that a worker lives: `[worker, [[scope, [calls]]], [[call, {account: cost so far}]], [accounts]]`. Settles calls
of a worker that has died. Returns `[workers, [calls that the store does not know], [[spent, held]]]`."""
