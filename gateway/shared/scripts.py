"""What happens inside Redis or Valkey, at once for all processes, by the clock of the server.

A bucket is a hash: `at` (milliseconds), `c` and `t` (calls and tokens that may go now), `until`
(nobody may go before), `lc` and `lt` (pace per minute that the provider told). It holds a quarter
of a second of its rate: with more, a pause is followed by a burst that the provider refuses.

Where a pace was found out from refusals (`gateway.borne`), it is kept in the same hash: `fb` (all
that is known), `fl`, `fd`, `fk`, `fs` (level, depth, span, and since when, in milliseconds), `fn`
(calls let through since) and `fi` (milliseconds in which nobody wanted any).

Of the calls in a bucket, those of jobs leave one, or a tenth: a question that somebody waits for
finds it there, however many jobs stand in line.
"""

TAKE = """
-- KEYS: buckets. ARGV: calls wanted in all, of those taken before, tokens per call, tokens owed
-- (below 0: taken before), 1 if of a job, 1 if a pace that was found out holds, then per bucket:
-- calls and tokens per minute as configured (0: not).
-- Gives {calls that may go in all, milliseconds to wait when none, milliseconds blocked, the pace
-- that was found out (calls per minute, times 1000)}.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
local want, have = tonumber(ARGV[1]), tonumber(ARGV[2])
local per, owed, job = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1'
local FORGOTTEN = 16
local grant, wait, blocked = want, 0, 0

local function pace(given, told)
  given, told = tonumber(given), tonumber(told or '0')
  if given > 0 and told > 0 then return math.min(given, told) / 60000 end
  return math.max(given, told) / 60000
end

local found, idle = 0, 0
if ARGV[6] == '1' then
  local f = redis.call('HMGET', KEYS[1], 'fl', 'fd', 'fk', 'fs', 'fi', 'lc', 'lt')
  if f[1] and not f[6] and not f[7] then
    idle = tonumber(f[5] or '0')
    local level, span = tonumber(f[1]), tonumber(f[3])
    local wanted = math.max(now - tonumber(f[4]) - idle, 0) / 1000
    local pace = level * (1 + tonumber(f[2]) * ((wanted - span) / span) ^ 3)
    if pace < level * FORGOTTEN then found = pace / 1000 end
  end
end

local state = {}
for i, key in ipairs(KEYS) do
  local h = redis.call('HMGET', key, 'at', 'c', 't', 'until', 'lc', 'lt')
  local at = tonumber(h[1] or now)
  local past = math.max(now - at, 0)
  blocked = math.max(blocked, tonumber(h[4] or 0) - now)
  local s = {c = false, t = false}
  local rate = pace(ARGV[5 + 2 * i], h[5])
  if i == 1 and found > 0 then rate = found end
  if rate > 0 then
    local cap = math.max(rate * 250, 3)
    local full = tonumber(h[2] or cap) + past * rate
    s.c = math.min(cap, full)
    if i == 1 and found > 0 and full > cap then idle = idle + (full - cap) / rate end
    local keep = job and math.max(1, cap * 0.1) or 0
    local can = math.max(math.floor(s.c - keep + 1e-6), 0) + have
    if can < 1 then wait = math.max(wait, (1 + keep - s.c) / rate) end
    grant = math.min(grant, can)
  end
  rate = pace(ARGV[6 + 2 * i], h[6])
  if rate > 0 then
    local cap = rate * 250
    s.t = math.min(cap, tonumber(h[3] or cap) + past * rate)
    local keep = job and cap * 0.1 or 0
    -- A call larger than the bucket goes when it is full, and leaves a debt.
    local need = math.min(per + owed, cap - keep)
    if s.t - keep + 1e-6 < need then
      wait = math.max(wait, (need + keep - s.t) / rate)
      grant = 0
    elseif per > 0 then
      grant = math.min(grant, math.max(1, math.floor((s.t - keep - owed) / per)))
    end
  end
  state[i] = s
end

local told = math.floor(found * 60000000)
if blocked > 0 then return {0, math.ceil(blocked), math.ceil(blocked), told} end
if grant < 1 then return {0, math.ceil(math.max(wait, 1)), 0, told} end
if found > 0 then
  redis.call('HINCRBY', KEYS[1], 'fn', math.max(grant - have, 0))
  redis.call('HSET', KEYS[1], 'fi', idle)
end
for i, key in ipairs(KEYS) do
  local s = state[i]
  if s.c or s.t then
    redis.call('HSET', key, 'at', now)
    if s.c then redis.call('HSET', key, 'c', s.c - math.max(grant - have, 0)) end
    if s.t then redis.call('HSET', key, 't', s.t - grant * per - owed) end
    redis.call('PEXPIRE', key, 600000)
  end
end
return {grant, 0, 0, told}
"""

HOLD = """
-- KEYS: hashes of who holds places. ARGV: process, calls in flight, places wanted, 1 if of a job,
-- milliseconds that the lease lasts, then per hash: places in all.
-- Gives {places, 1 if there are not enough for all}.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local me, busy, want = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local job, lease = ARGV[4] == '1', tonumber(ARGV[5])
local places, short = want, 0

local function share(total, wants)
  -- Everybody has what they want, or the same as the others who want more.
  table.sort(wants)
  local left, n = total, #wants
  for i, w in ipairs(wants) do
    local part = left / (n - i + 1)
    if w > part then return part end
    left = left - w
  end
  return total
end

for i, key in ipairs(KEYS) do
  local total = tonumber(ARGV[5 + i])
  local held, sum, first = 0, want, 0
  local wants = {want}
  local raw = redis.call('HGETALL', key)
  local seen = 0
  for j = 1, #raw, 2 do
    if raw[j] == 'seen' then
      seen = tonumber(raw[j + 1])
    elseif raw[j] ~= me then
      local h, w, theirs, till = string.match(raw[j + 1], '(%d+):(%d+):(%d):(%d+)')
      if tonumber(till) < now then
        redis.call('HDEL', key, raw[j])
      else
        h, w = tonumber(h), tonumber(w)
        held, sum = held + h, sum + w
        if (theirs == '1') == job then
          wants[#wants + 1] = w
        elseif job then
          first = first + w
        end
      end
    end
  end
  if not job then redis.call('HSET', key, 'seen', now) end
  -- Where people were about lately, jobs leave them a place.
  if job and first == 0 and total >= 4 and seen > now - 60000 then first = 1 end
  local fair = share(math.max(total - first, job and 0 or total), wants)
  if want > 0 and total >= 1 then fair = math.max(fair, job and first > 0 and 0 or 1) end
  places = math.min(places, math.ceil(fair - 1e-6), math.max(total - held, 0))
  if sum > total then short = 1 end
end

for i, key in ipairs(KEYS) do
  local have = math.max(busy, places)
  if want == 0 and busy == 0 then
    redis.call('HDEL', key, me)
  else
    local row = string.format('%d:%d:%d:%d', have, want, job and 1 or 0, now + lease)
    redis.call('HSET', key, me, row)
  end
  redis.call('PEXPIRE', key, 120000)
end
if want > places then short = 1 end
return {places, short}
"""

TELL = """
-- KEYS: one bucket, a channel. ARGV: milliseconds to block, calls and tokens per minute as told
-- (0: not told), the news. Remembers, and lets everybody know.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
if tonumber(ARGV[1]) > 0 then
  local till = tonumber(redis.call('HGET', KEYS[1], 'until') or '0')
  redis.call('HSET', KEYS[1], 'until', math.max(till, now + ARGV[1]))
end
if tonumber(ARGV[2]) > 0 then redis.call('HSET', KEYS[1], 'lc', ARGV[2]) end
if tonumber(ARGV[3]) > 0 then redis.call('HSET', KEYS[1], 'lt', ARGV[3]) end
redis.call('PEXPIRE', KEYS[1], 600000)
redis.call('PUBLISH', KEYS[2], ARGV[4])
return {0}
"""

RECALL = """
-- KEYS: one bucket. Gives {milliseconds, what is known of the pace that is borne, calls let through
-- since, milliseconds in which nobody wanted any}.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local h = redis.call('HMGET', KEYS[1], 'fb', 'fn', 'fi')
return {now, h[1] or '', h[2] or '0', h[3] or '0'}
"""

REMEMBER = """
-- KEYS: one bucket, a channel. ARGV: what was known, what is known now, level (0: none), depth,
-- span, since (milliseconds), 1 if it counts anew, the news.
-- Gives {1}, or {0} when something else is known by now.
if (redis.call('HGET', KEYS[1], 'fb') or '') ~= ARGV[1] then return {0} end
redis.call('HSET', KEYS[1], 'fb', ARGV[2])
if tonumber(ARGV[3]) > 0 then
  redis.call('HSET', KEYS[1], 'fl', ARGV[3], 'fd', ARGV[4], 'fk', ARGV[5], 'fs', ARGV[6])
  local till = tonumber(redis.call('HGET', KEYS[1], 'until') or '0')
  redis.call('HSET', KEYS[1], 'until', math.max(till, tonumber(ARGV[6])))
  if ARGV[7] == '1' then
    redis.call('HSET', KEYS[1], 'fn', 0, 'fi', 0, 'c', 0, 'at', ARGV[6])
  end
else
  redis.call('HDEL', KEYS[1], 'fl', 'fd', 'fk', 'fs', 'fn', 'fi')
end
redis.call('PEXPIRE', KEYS[1], 600000)
redis.call('PUBLISH', KEYS[2], ARGV[8])
return {1}
"""

BURY = """
-- KEYS: hashes of who holds places. ARGV: a process that is dead. Gives {places it held}.
local freed = 0
for _, key in ipairs(KEYS) do
  local raw = redis.call('HGETALL', key)
  for j = 1, #raw, 2 do
    if string.sub(raw[j], 1, #ARGV[1] + 1) == ARGV[1] .. ':' then
      freed = freed + tonumber(string.match(raw[j + 1], '^(%d+)') or '0')
      redis.call('HDEL', key, raw[j])
    end
  end
end
return {freed}
"""

SHUT = """
-- KEYS: one account, a channel. ARGV: milliseconds, why, the news.
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
redis.call('PUBLISH', KEYS[2], ARGV[3])
return {0}
"""

LOOK = """
-- KEYS: one bucket, one account. Gives {milliseconds blocked, calls and tokens per minute as told,
-- milliseconds the account is shut, why, calls per second that were found to be borne}.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
local h = redis.call('HMGET', KEYS[1], 'until', 'lc', 'lt', 'fl')
local shut = redis.call('PTTL', KEYS[2])
local why = redis.call('GET', KEYS[2])
local blocked = math.max(tonumber(h[1] or '0') - now, 0)
return {
  math.ceil(blocked), h[2] or '0', h[3] or '0', math.max(shut, 0), why or '', h[4] or '0'
}
"""

BEAT = """
-- KEYS: the processes. ARGV: process, milliseconds. Gives {how many there are}.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
-- First what needs memory: after a removal, a store that is full would let it pass.
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('PEXPIRE', KEYS[1], 60000)
return {redis.call('ZCARD', KEYS[1])}
"""

LEASE = """
-- KEYS: what was spent. ARGV: the budget, the least and the most that is wanted (billionths),
-- seconds until it is forgotten. Gives {granted, spent before}; granted -1: it does not suffice.
local spent = tonumber(redis.call('GET', KEYS[1]) or '0')
local budget, least, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local give = math.min(most, budget - spent)
if give < least then return {-1, spent} end
redis.call('INCRBY', KEYS[1], string.format('%.0f', give))
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {give, spent}
"""

COUNT = """
-- KEYS: a count. ARGV: calls in a period, seconds of a period, calls made before that nobody
-- counted. Gives {1 if this call may go, calls counted, milliseconds until the next period}.
local clock = redis.call('TIME')
local period = tonumber(ARGV[2])
local number = math.floor(clock[1] / period)
local left = ((number + 1) * period - clock[1]) * 1000 - math.floor(clock[2] / 1000)
local h = redis.call('HMGET', KEYS[1], 'period', 'calls')
local before = tonumber(h[1]) == number and tonumber(h[2]) or 0
local calls = before + tonumber(ARGV[3])
local passes = calls < tonumber(ARGV[1]) and 1 or 0
calls = calls + passes
if calls > before then
  redis.call('HSET', KEYS[1], 'period', number, 'calls', calls)
  redis.call('PEXPIRE', KEYS[1], left + 1000)
end
return {passes, calls, left}
"""

KEEP = """
-- KEYS: the answer, an index. ARGV: the answer, milliseconds, its size, bytes in all.
-- Keeps it, and forgets those that run out the soonest until all fit.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local sum = KEYS[2] .. ':bytes'
local function forget(member)
  redis.call('ZREM', KEYS[2], member)
  redis.call('DECRBY', sum, string.match(member, ' (%d+)$'))
end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 1000)) do
  forget(member)
end
if redis.call('EXISTS', KEYS[1]) == 1 then return {0} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', KEYS[2], now + ARGV[2], KEYS[1] .. ' ' .. ARGV[3])
local all = redis.call('INCRBY', sum, ARGV[3])
while all > tonumber(ARGV[4]) do
  local oldest = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
  if not oldest then break end
  redis.call('DEL', string.match(oldest, '^(.*) %d+$'))
  forget(oldest)
  all = tonumber(redis.call('GET', sum))
end
return {1}
"""
