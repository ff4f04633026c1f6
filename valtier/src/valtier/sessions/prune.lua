-- Reads a user's index, and removes from it what has reached its absolute limit.
--
-- KEYS[1]  the index
-- returns  the names in it
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
return redis.call('ZRANGE', KEYS[1], 0, -1)
