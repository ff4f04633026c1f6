-- Decides one hit on several limits together, of any algorithm: all of them are charged, or none. Also looks and corrects.
-- The clock is the server's. A state is a number (the arrival time in µs, or a count), or `start:current:previous`;
-- negative numbers mean: blocked until then.
--
-- KEYS     the states, all in one slot
-- ARGV[1]  hit: charge what passes; peek: only look; adjust: charge whatever comes of it (costs below 0 give back)
-- ARGV     then six for each key: algorithm (g, f, s), cost in points, capacity in points, unit in µs (of a point for g, of
--          the window for f and s), block in ms, 1 if it is only watched and refuses nobody
-- returns  for each key: 1 if it passes (2: it would have, but another refuses, so nothing was taken), points left, µs until all are back, µs until it may pass, what is stored
local SPAN = 4000000  -- see gcra.lua
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local mode = ARGV[1]

-- Each returns whether it passes, points left, µs until all are back, µs until it may pass, the new state, and its TTL in
-- µs (none: it keeps the one that it has).
local function gcra(state, cost, points, unit, force)
  local capacity = points * unit
  local fill = math.min(math.max(tonumber(state or 0) - now, 0), 2 * capacity)
  local full = fill + cost * unit
  if force then
    full = math.min(math.max(full, 0), 2 * capacity)
  elseif full > capacity then
    return false, math.max(0, math.floor((capacity - fill) / unit)), fill, full - capacity
  end
  local arrival = now + full
  local expires = arrival - arrival % SPAN + 2 * SPAN
  return true, math.max(0, math.floor((capacity - full) / unit)), full, 0, arrival, expires - now
end

local function fixed(state, cost, points, unit, force, key)
  local count, left, ttl = tonumber(state or 0), unit, unit
  if state then
    local ttl_ms = redis.call('PTTL', key)
    if ttl_ms >= 0 then
      left, ttl = math.min((ttl_ms + 1) * 1000, unit), nil  -- it has expired when that is over, not before
    end
  end
  local full = count + cost
  if force then
    full = math.min(math.max(full, 0), 2 * points)
  elseif full > points then
    return false, math.max(0, points - count), left, left
  end
  return true, math.max(0, points - full), full > 0 and left or 0, 0, full, ttl
end

local function sliding(state, cost, points, unit, force)
  local start, current, previous = now, 0, 0
  if state then
    start, current, previous = string.match(state, '(%d+):(%d+):(%d+)')
    start, current, previous = math.min(start, now), tonumber(current), tonumber(previous)
  end
  local past = now - start
  if past >= 2 * unit then
    start, current, previous, past = now, 0, 0, 0
  elseif past >= unit then
    start, current, previous, past = start + unit, 0, current, past - unit
  end
  local used = current + math.ceil(previous * (unit - past) / unit)
  local reset = current > 0 and 2 * unit - past or previous > 0 and unit - past or 0
  if force then
    local full = math.min(math.max(current + cost, 0), 2 * points)
    used, current = used - current + full, full
    reset = full > 0 and 2 * unit - past or reset
  elseif used + cost > points then
    local wait
    if current + cost <= points then
      wait = math.ceil(unit - (points - current - cost) * unit / previous) - past
    else
      wait = unit - past + math.max(0, math.ceil(unit - (points - cost) * unit / current))
    end
    return false, math.max(0, points - used), reset, wait
  else
    used, current = used + cost, current + cost
    reset = current > 0 and 2 * unit - past or reset
  end
  local new = string.format('%.0f:%.0f:%.0f', start, current, previous)
  return true, math.max(0, points - used), reset, 0, new, 2 * unit - past
end

local judges = {g = gcra, f = fixed, s = sliding}
local replies, writes, refused = {}, {}, false

local function write(key, new, ttl)
  if ttl then
    redis.call('SET', key, new, 'PXAT', math.ceil((now + math.max(ttl, 1000000)) / 1000))
  else
    redis.call('SET', key, new, 'KEEPTTL')
  end
end

for i, key in ipairs(KEYS) do
  local at = 6 * i - 4
  local judge = judges[ARGV[at]]
  local cost, points, unit = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local block_ms, watched = tonumber(ARGV[at + 4]), ARGV[at + 5] == '1'
  local state = redis.call('GET', key)
  local blocked = state and string.byte(state) == 45
  if blocked and -state <= now then
    state, blocked = false, false
  end
  local ok, left, reset, wait, new, ttl
  if blocked then
    ok, left, reset, wait = false, 0, -state - now, -state - now
  elseif mode == 'hit' then
    ok, left, reset, wait, new, ttl = judge(state, cost, points, unit, false, key)
    if ok then
      writes[#writes + 1] = {key, new, ttl or false, i, judge, state, points, unit}
    elseif block_ms > 0 then
      state, reset, wait = string.format('-%.0f', now + block_ms * 1000), block_ms * 1000, block_ms * 1000
      redis.call('SET', key, state, 'PX', block_ms)
    end
  else
    if mode == 'adjust' then
      local _, _, _, _, corrected, lives = judge(state, cost, points, unit, true, key)
      state, ttl = corrected, lives
      write(key, state, ttl)
    end
    local _, there, whole = judge(state, 0, points, unit, true, key)
    local one, _, _, later = judge(state, 1, points, unit, false, key)
    ok, left, reset, wait = one, there, whole, later
  end
  refused = refused or not ok and not watched
  replies[i] = {ok and 1 or 0, left, math.ceil(reset), math.ceil(wait), state or ''}
end
for _, step in ipairs(writes) do
  if refused then
    local judge, state, points, unit = unpack(step, 5)
    local _, left, reset = judge(state, 0, points, unit, true, step[1])
    replies[step[4]] = {2, left, math.ceil(reset), 0, state or ''}
  else
    write(step[1], step[2], step[3])
  end
end
return replies
