-- Decides hits by the generic cell rate algorithm, each by itself, and counts those that pass. The clock is the server's.
--
-- KEYS     for each hit its state, the theoretical arrival time in µs: when all points will be back; negative: blocked until
-- ARGV[1]  what each costs, in µs: its points × the emission interval
-- ARGV[2]  the capacity in µs: how far ahead of now the arrival time may lie
-- ARGV[3]  for how long a refused key is blocked, in ms; 0: not at all
-- returns  for each hit: the µs until all points are back, if it passed; else that number, and what is stored
local call, ceil = redis.call, math.ceil
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
    call('SET', key, now + full, 'PXAT', ceil((now + (full < 1000000 and 1000000 or full)) / 1000))
    written[key], replies[i] = now + full, full
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
