-- Decides hits by the generic cell rate algorithm, each by itself, and counts those that pass. The clock is the server's.
--
-- KEYS     for each hit its state, the theoretical arrival time in µs: when all points will be back; negative: blocked until
-- ARGV     then three for each hit: what it costs in µs (its points × the emission interval); the capacity in µs, which is
--          how far ahead of now the arrival time may lie; for how long a refused key is blocked, in ms (0: it is not)
-- returns  for each hit: the µs until all points are back, if it passed; else that number, and what is stored
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local replies = {}
for i = 1, #KEYS do
  local key, capacity = KEYS[i], tonumber(ARGV[3 * i - 1])
  local stored = call('GET', key)
  local fill, blocked = stored and stored - now or 0, false
  if fill < 0 then
    blocked = string.byte(stored) == 45 and -stored > now
    fill = 0
  end
  local full = fill + ARGV[3 * i - 2]
  if blocked then
    replies[i] = {-stored - now, stored}
  elseif full <= capacity then
    local ttl_ms = math.ceil(full / 1000)
    call('SET', key, now + full, 'PX', ttl_ms < 1000 and 1000 or ttl_ms)
    replies[i] = full
  elseif ARGV[3 * i] ~= '0' then
    stored = string.format('-%.0f', now + ARGV[3 * i] * 1000)
    call('SET', key, stored, 'PX', ARGV[3 * i])
    replies[i] = {ARGV[3 * i] * 1000, stored}
  else
    -- What lies further ahead than any penalty may put it was written by a clock that ran ahead.
    replies[i] = {fill > 2 * capacity and 2 * capacity or fill, stored or ''}
  end
end
return replies
