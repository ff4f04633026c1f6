-- Publishes a worker's report, and forgets the workers whose time is over.
--
-- KEYS     report, index (a sorted set of workers by the millisecond at which their report ends), in one slot
-- ARGV     worker, report, its life in ms, how many workers the index holds at most
-- returns  1

local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local life_ms = tonumber(ARGV[3])

redis.call('SET', KEYS[1], ARGV[2], 'PX', life_ms)
redis.call('ZADD', KEYS[2], now_ms + life_ms, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_ms)
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -tonumber(ARGV[4]) - 1)
redis.call('PEXPIRE', KEYS[2], life_ms)
return 1
