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
| `group:KEY`            | number of users with an account in a window            | a day after its end  |
| `holds:WORKER`         | open calls: by account what they hold, and cost so far | their ends           |
| `ended:CALL`           | what was added for a call that is over, or seemed so   | 10 minutes, or a day |
| `told:KEY`             | that something was logged                              | the window's end     |
| `workers`              | the workers, each with its latest sign of life         | 15 s without one     |
| `judge`                | when a worker may be taken for dead, after a silence   | a minute             |

Where no worker gave a sign of life for `SILENCE_MS`, it was the Redis that was away, or its clock that has stepped:
nobody is taken for dead until each has had the time to give one.

Of a call whose worker was taken for dead, `ended` has also what it held, so that it can be held again.

Decisions: docs/decisions.md, D247, D251, D325.
"""

from typing import Final

from extproc.limits.advances import MOST_USED
from extproc.limits.gcra import LONGEST_DEBT, MINUTE
from extproc.worker.redis_client import Script

LEASE_MS: Final = 15_000
"""Milliseconds without a sign of life after which a worker's streams and holds are settled."""

SILENCE_MS: Final = 5_000
"""Milliseconds without a sign of life of any worker that are no worker's death: each gives one in every second."""

_PRELUDE: Final = (
    f"""
local MINUTE, LONGEST, MOST_USED, DAY = {MINUTE}, {LONGEST_DEBT}, {MOST_USED}, 86400
local LEASE, SILENCE = {LEASE_MS}, {SILENCE_MS}
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
local function alive(worker)
  local latest = redis.call('ZRANGE', P .. 'workers', 0, 0, 'REV', 'WITHSCORES')[2]
  if latest and now_ms - latest > SILENCE then
    redis.call('SET', P .. 'judge', string.format('%.0f', now_ms + LEASE), 'PX', 4 * LEASE)
  end
  redis.call('ZADD', P .. 'workers', now_ms, worker)
end
local function number(group) return tonumber(redis.call('GET', P .. 'group:' .. group) or 0) end
local function account(key, group, most)
  local found = balance(key)
  if found or group == '' or number(group) < most then return key, group, found or {0, 0} end
  key = 'others of ' .. group
  return key, '', balance(key) or {0, 0}
end
local function add(key, spent, held, ends, group)
  local old, gone = balance(key), string.format('%.0f', math.max(ends, now_s) + DAY)
  if not old and group ~= '' then
    redis.call('INCR', P .. 'group:' .. group)
    redis.call('EXPIREAT', P .. 'group:' .. group, gone)
  end
  old = old or {0, 0}
  spent, held = old[1] + spent, math.max(old[2] + held, 0)
  if group ~= '' and spent == 0 and held == 0 then
    redis.call('DEL', P .. 'account:' .. key)
    if number(group) > 0 then redis.call('DECR', P .. 'group:' .. group) end
  else
    redis.call('SET', P .. 'account:' .. key, string.format('%.0f %.0f', spent, held), 'EXAT', gone)
  end
end
"""
)

ADMIT: Final = Script(
    _PRELUDE
    + r"""
local worker, call, most, stream, scopes, charges, ahead = unpack(M)
local fits, buckets = true, {}
for i, scope in ipairs(scopes) do
  local key, requests, tokens, streams, rest_r, rest_k = unpack(scope)
  local r, k = bucket(key)
  r, k = math.min(math.max(r - rest_r, 0), LONGEST), math.min(math.max(k - rest_k, 0), LONGEST)
  local open = 0
  if stream and streams > 0 then
    redis.call('ZREMRANGEBYSCORE', P .. 'streams:' .. key, '-inf', now_ms)
    open = redis.call('ZCARD', P .. 'streams:' .. key)
  end
  if (requests >= 0 and r + requests > MINUTE) or (tokens >= 0 and k + tokens > MINUTE)
    or (stream and streams > 0 and open >= streams) then
    fits = false
  end
  if (requests >= 0 and r + requests > MOST_USED) or (tokens >= 0 and k + tokens > MOST_USED) then ahead = 0 end
  buckets[i] = {r, k, open}
end
for i, scope in ipairs(scopes) do
  local key, requests, tokens, streams, rest_r, rest_k = unpack(scope)
  local r, k = buckets[i][1], buckets[i][2]
  if fits then
    if requests >= 0 then r = r + requests + ahead end
    if tokens >= 0 then k = k + tokens + ahead end
  end
  if fits or rest_r ~= 0 or rest_k ~= 0 then set_bucket(key, r, k) end
  if fits then
    if stream and streams > 0 then
      redis.call('ZADD', P .. 'streams:' .. key, now_ms + LEASE, call)
      redis.call('PEXPIRE', P .. 'streams:' .. key, 4 * LEASE)
    end
  end
end
local balances, shared, holds = {}, {}, {}
if fits and #charges > 0 then
  local held = redis.call('EXISTS', P .. 'ended:' .. call) == 0
    and redis.call('HEXISTS', P .. 'holds:' .. worker, call) == 0
  for i, charge in ipairs(charges) do
    local wanted, limit, amount, ends, counted, enforced, of = unpack(charge)
    local key, group, found = account(wanted, of, most)
    balances[i] = found
    if key ~= wanted then shared[#shared + 1] = i - 1 end
    if enforced and amount > limit - found[1] - found[2] then held = false end
    holds[i] = {key, amount, counted, ends, group}
  end
  if held then
    for _, hold in ipairs(holds) do add(hold[1], 0, hold[2], hold[4], hold[5]) end
    redis.call('HSET', P .. 'holds:' .. worker, call, cmsgpack.pack(holds))
    alive(worker)
  end
end
return cmsgpack.pack({buckets, balances, shared, fits and ahead or 0})
"""
)
"""Admit a request: `[worker, call, most of a group, stream, [[scope, cost of requests or -1, of tokens, most streams,
rest of requests, of tokens]], [[account, limit, amount, end, counted, enforced, group]], advance]`. Returns
`[[[requests, tokens, streams]], [[spent, held]], [positions of charges to an account that others share], advance]`: all
as they were before, but with the rests of the last advance given back, and the advance that was taken, or 0. Budgets
are asked only where the rates admit."""

_SETTLE: Final = r"""
local function settle(worker, call, accounts, costs, seconds, most, dead)
  local text, settled = redis.call('HGET', P .. 'holds:' .. worker, call), {}
  if text then
    for i, hold in ipairs(cmsgpack.unpack(text)) do
      local cost = costs and (costs[i] or 0) or hold[3]
      add(hold[1], cost, -hold[2], hold[4], hold[5])
      settled[i] = dead and {hold[1], cost, hold[2], hold[4], hold[5]} or {hold[1], cost}
    end
    redis.call('HDEL', P .. 'holds:' .. worker, call)
  else
    local before = redis.call('GET', P .. 'ended:' .. call)
    before = before and cmsgpack.unpack(before) or {}
    for i, each in ipairs(accounts) do
      local key, ends, group = unpack(each)
      local last = before[i] or {key, 0}
      if last[1] ~= key then key, group = last[1], '' end
      key, group = account(key, group, most)
      if costs[i] ~= last[2] then add(key, costs[i] - last[2], 0, ends, group) end
      settled[i] = {key, costs[i]}
    end
  end
  redis.call('SET', P .. 'ended:' .. call, cmsgpack.pack(settled), 'EX', seconds)
end
"""

END: Final = Script(
    _PRELUDE
    + _SETTLE
    + r"""
local worker, most, ends = unpack(M)
for _, each in ipairs(ends) do
  local call, moved, released, accounts, costs = unpack(each)
  for _, move in ipairs(moved) do
    local r, k = bucket(move[1])
    set_bucket(move[1], r, math.min(math.max(k + move[2], 0), LONGEST))
  end
  for _, scope in ipairs(released) do redis.call('ZREM', P .. 'streams:' .. scope, call) end
  if #accounts > 0 or not costs then settle(worker, call, accounts, costs, 600, most) end
end
return 1
"""
)
"""Settle calls that are over: `[worker, most of a group, [[call, [[scope, change of tokens' bucket]], [scopes of its
stream], [[account, end, group]], [costs]]]]`; accounts are in the order in which the call was admitted. Without costs
(false) a call is settled by its last counts. What is settled twice counts once, but for the changes of buckets."""

BEAT: Final = Script(
    _PRELUDE
    + _SETTLE
    + r"""
local worker, streams, running, accounts = unpack(M)
alive(worker)
local function hold_again(call, costs)
  local text, holds = redis.call('GET', P .. 'ended:' .. call), {}
  if not text then return false end
  for i, each in ipairs(cmsgpack.unpack(text)) do
    local key, cost, amount, ends, group = unpack(each)
    if not amount then return true end
    add(key, -cost, amount, ends, group)
    holds[i] = {key, amount, costs[i] or cost, ends, group}
  end
  redis.call('HSET', P .. 'holds:' .. worker, call, cmsgpack.pack(holds))
  redis.call('DEL', P .. 'ended:' .. call)
  return true
end
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
    for i, hold in ipairs(holds) do hold[3] = costs[i] or hold[3] end
    redis.call('HSET', P .. 'holds:' .. worker, call, cmsgpack.pack(holds))
  elseif not hold_again(call, costs) then
    unknown[#unknown + 1] = call
  end
end
local dead = redis.call('ZRANGE', P .. 'workers', '-inf', now_ms - LEASE - 1, 'BYSCORE', 'LIMIT', 0, 1)[1]
if dead and now_ms >= tonumber(redis.call('GET', P .. 'judge') or 0) then
  local calls = redis.call('HKEYS', P .. 'holds:' .. dead)
  for i = 1, math.min(#calls, 200) do
    local costs, holds = {}, cmsgpack.unpack(redis.call('HGET', P .. 'holds:' .. dead, calls[i]))
    for j, hold in ipairs(holds) do costs[j] = hold[3] end
    settle(dead, calls[i], {}, costs, DAY, 0, true)
  end
  if #calls <= 200 then redis.call('ZREM', P .. 'workers', dead) end
end
local balances = {}
for i, key in ipairs(accounts) do balances[i] = balance(key) or {0, 0} end
return cmsgpack.pack({redis.call('ZCARD', P .. 'workers'), unknown, balances})
"""
)
"""Show that a worker lives: `[worker, [[scope, [calls]]], [[call, [costs so far]]], [accounts]]`. Settles calls of
a worker that seems dead, and holds those of this one again that others have settled so. Returns
`[workers, [calls that the store does not know], [[spent, held]]]`."""
