-- Forgets failures in a row, gives back what the successful attempt was charged, and marks where it came from as known.
--
-- KEYS     the marks, of the address and perhaps of the device
-- KEYS     then the counter of failures in a row from there
-- KEYS     then the other counters that were charged, each of which gets one attempt back, all in one slot
-- ARGV[1]  how long the marks last, in ms
-- ARGV[2]  how many marks there are
-- returns  1
local marks = tonumber(ARGV[2])
for i = 1, marks do
  redis.call('SET', KEYS[i], 1, 'PX', ARGV[1])
end
redis.call('DEL', KEYS[marks + 1])
for i = marks + 2, #KEYS do
  local taken = tonumber(redis.call('GET', KEYS[i]) or 0)
  if taken > 1 then
    redis.call('SET', KEYS[i], taken - 1, 'KEEPTTL')
  elseif taken == 1 then
    redis.call('DEL', KEYS[i])
  end
end
return 1
