-- Adds counts to the list of hot keys. What it holds fades: scores halve with the half-life, in steps of an eighth of it.
--
-- KEYS[1]  the list, a sorted set
-- KEYS[2]  when its scores last faded, in ms by the server's clock
-- ARGV[1]  the half-life, in ms
-- ARGV[2]  how many keys it keeps
-- ARGV[3…] a count and its key, in turns
-- returns  how many keys it has
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local half = tonumber(ARGV[1])
local at = tonumber(redis.call('GET', KEYS[2]) or now)
if now - at >= half / 8 then
  redis.call('ZUNIONSTORE', KEYS[1], 1, KEYS[1], 'WEIGHTS', string.format('%.9f', 0.5 ^ ((now - at) / half)))
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '0.01')
  at = now
end
local keeps = 7 * 24 * 3600 * 1000
redis.call('SET', KEYS[2], string.format('%.0f', at), 'PX', keeps)
for i = 3, #ARGV, 2 do
  redis.call('ZINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -tonumber(ARGV[2]) - 1)
redis.call('PEXPIRE', KEYS[1], keeps)
return redis.call('ZCARD', KEYS[1])
