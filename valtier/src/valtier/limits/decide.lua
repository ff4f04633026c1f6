-- Decides hits on several limits together, of any algorithm: each hit is charged to all of them, or to none. Also looks and
-- corrects.
-- The clock is the server's. A state is a number (the arrival time in µs, or a count), or `start:current:previous`;
-- negative numbers mean: blocked until then.
--
-- KEYS     the states, one for each limit and those of the first hit first; those of a hit in one slot
-- ARGV[1]  hit: charge what passes; peek: only look; adjust: charge whatever comes of it (costs below 0 give back)
-- ARGV     then six for each limit: algorithm (g, f, s), cost in points, capacity in points, unit in µs (of a point for g, of
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
local replies = {}

local function write(key, new, ttl)
  if ttl then
    redis.call('SET', key, new, 'PXAT', math.ceil((now + math.max(ttl, 1000000)) / 1000))
  else
    redis.call('SET', key, new, 'KEEPTTL')
  end
end

-- Decides on one limit. Returns whether it passes, its reply, and what is to be written if all pass.
local function decide(key, at)
  local judge = judges[ARGV[at]]
  local cost, points, unit = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local block_ms = tonumber(ARGV[at + 4])
  local state = redis.call('GET', key)
  if state and string.byte(state) == 45 then
    if -state > now then
      return false, {0, 0, -state - now, -state - now, state}
    end
    state = false
  end
  if mode == 'hit' then
    local ok, left, reset, wait, new, ttl = judge(state, cost, points, unit, false, key)
    if ok then
      return true, {1, left, math.ceil(reset), math.ceil(wait), state or ''}, {key, new, ttl or false, judge, state, points, unit}
    end
    if block_ms > 0 then
      state, reset, wait = string.format('-%.0f', now + block_ms * 1000), block_ms * 1000, block_ms * 1000
      redis.call('SET', key, state, 'PX', block_ms)
    end
    return false, {0, left, math.ceil(reset), math.ceil(wait), state or ''}
  end
  if mode == 'adjust' then
    local _, _, _, _, corrected, lives = judge(state, cost, points, unit, true, key)
    state = corrected
    write(key, state, lives)
  end
  local _, there, whole = judge(state, 0, points, unit, true, key)
  local one, _, _, later = judge(state, 1, points, unit, false, key)
  return one, {one and 1 or 0, there, math.ceil(whole), math.ceil(later), state or ''}
end

local limits = (#ARGV - 1) / 6
for first = 0, #KEYS - 1, limits do
  local steps, refused = {}, false
  for i = 1, limits do
    local ok, reply, step = decide(KEYS[first + i], 6 * i - 4)
    replies[first + i], steps[i] = reply, step or false
    refused = refused or not ok and ARGV[6 * i + 1] ~= '1'
  end
  for i, step in ipairs(steps) do
    if step and refused then
      local judge, state, points, unit = unpack(step, 4)
      local _, left, reset = judge(state, 0, points, unit, true, step[1])
      replies[first + i] = {2, left, math.ceil(reset), 0, state or ''}
    elseif step then
      write(step[1], step[2], step[3])
    end
  end
end
return replies
