-- Decides hits by the generic cell rate algorithm, each by itself, and counts those that pass. The clock is the server's.
-- A state expires at the end of the span of 4 s that follows the one in which its arrival time lies, here as in decide.lua:
-- most hits need not touch the TTL, and INCRBY, in place, costs less than half of what SET does.
--
-- KEYS     for each hit its state, the theoretical arrival time in µs: when all points will be back; negative: blocked until
-- ARGV[1]  what each costs, in µs: its points × the emission interval
-- ARGV[2]  the capacity in µs: how far ahead of now the arrival time may lie
-- ARGV[3]  for how long a refused key is blocked, in ms; 0: not at all
-- returns  for each hit: the µs until all points are back, if it passed; else that number, and what is stored
local SPAN = 4000000
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local cost, capacity, block_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local states = call('MGET', unpack(KEYS))
local written, replies = {}, {}
for i, key in ipairs(KEYS) do
  local stored = written[key] or states[i]
  local fill, blocked = stored and stored - now or 0, false
  if fill < 0 then
    blocked = stored + 0 < -now
    fill = 0
  end
  local full = fill + cost
  if blocked then
    replies[i] = {-stored - now, stored}
  elseif full <= capacity then
    local arrival = now + full
    local span = arrival - arrival % SPAN
    if stored and stored - stored % SPAN == span then
      call('INCRBY', key, arrival - stored)
    else
      call('SET', key, arrival, 'PXAT', (span + 2 * SPAN) / 1000)
    end
    written[key], replies[i] = arrival, full
  elseif block_ms > 0 then
    local state = string.format('-%.0f', now + block_ms * 1000)
    call('SET', key, state, 'PX', block_ms)
    written[key], replies[i] = state, {block_ms * 1000, state}
  else
    -- What lies further ahead than any penalty may put it was written by a clock that ran ahead.
    local text = stored and string.format('%.0f', stored) or ''
    replies[i] = {fill > 2 * capacity and 2 * capacity or fill, text}
  end
end
return replies
