-- Forgets failures in a row, gives back what the successful attempt was charged, and marks where it came from as known.
--
-- KEYS[1]  the mark
-- KEYS[2]  the counter of failures in a row from there
-- KEYS     then the other counters that were charged, each of which gets one attempt back, all in one slot
-- ARGV[1]  how long the mark lasts, in ms
-- returns  1
redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
redis.call('DEL', KEYS[2])
for i = 3, #KEYS do
  local taken = tonumber(redis.call('GET', KEYS[i]) or 0)
  if taken > 1 then
    redis.call('SET', KEYS[i], taken - 1, 'KEEPTTL')
  elseif taken == 1 then
    redis.call('DEL', KEYS[i])
  end
end
return 1
