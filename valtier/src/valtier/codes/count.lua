-- Counts one more from an address, in a window that begins with the first.
--
-- KEYS[1]  the address's counter
-- ARGV[1]  how many are let through
-- ARGV[2]  in how many ms
-- returns  0, or in how many ms to ask again; then it was not counted
local count = tonumber(redis.call('GET', KEYS[1]) or 0)
if count >= tonumber(ARGV[1]) then
  return math.max(redis.call('PTTL', KEYS[1]), 1)
end
if count == 0 then
  redis.call('SET', KEYS[1], 1, 'PX', ARGV[2])
else
  redis.call('INCR', KEYS[1])
end
return 0
