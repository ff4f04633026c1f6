-- Notes that a session is in use, if that was not noted lately.
--
-- KEYS[1]  the session
-- ARGV[1]  how long ago that has to be, in ms
-- returns  1 if it was noted, 0 if it was lately, -1 if there is no session
local seen, idle, most, copy = unpack(redis.call('HMGET', KEYS[1], 't', 'i', 'x', 'z'))
if not (seen and idle and most) then
  return -1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now >= tonumber(most) or now >= seen + idle then
  return -1
end
if now - seen < tonumber(ARGV[1]) then
  return 0
end
redis.call('HSET', KEYS[1], 't', string.format('%.0f', now))
local ttl = math.min(tonumber(idle), most - now, (copy or most) - now)
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(1, ttl)))
return 1
