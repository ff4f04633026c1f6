-- Blocks a key from now on, whatever its state. The clock is the server's.
--
-- KEYS[1]  the state
-- ARGV[1]  for how long, in ms
-- returns  what is stored
local time = redis.call('TIME')
local state = string.format('-%.0f', time[1] * 1000000 + time[2] + ARGV[1] * 1000)
redis.call('SET', KEYS[1], state, 'PX', ARGV[1])
return state
