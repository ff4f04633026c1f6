-- Gives a session another token. The old one ends at once, or stands for the session a little longer.
--
-- KEYS[1]  the session
-- ARGV[1]  the hash of the old token
-- ARGV[2]  the hash of the new one
-- ARGV[3]  how long the old one stands for the session, in ms; 0 not at all
-- ARGV[4]  what the new one was made from
-- ARGV[5]  for how long the user counts as recently authenticated from now, in ms; -1 leaves that as it is
-- returns  1; 0 if the old token is not the session's any more; -1 if there is no session
local own, seen, idle, most = unpack(redis.call('HMGET', KEYS[1], 'h', 't', 'i', 'x'))
if not (own and seen and idle and most) then
  return -1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now >= tonumber(most) or now >= seen + idle then
  return -1
end
if own ~= ARGV[1] then
  return 0
end
local function text(number)
  return string.format('%.0f', number)
end
redis.call('HSET', KEYS[1], 'h', ARGV[2], 'r', text(now), 't', text(now))
redis.call('PEXPIRE', KEYS[1], text(math.max(1, math.min(tonumber(idle), most - now))))
if tonumber(ARGV[3]) > 0 then
  redis.call('HSET', KEYS[1], 'p', ARGV[1], 'pu', text(now + ARGV[3]), 'pn', ARGV[4])
else
  redis.call('HDEL', KEYS[1], 'p', 'pu', 'pn')
end
if tonumber(ARGV[5]) >= 0 then
  redis.call('HSET', KEYS[1], 'k', text(now + ARGV[5]))
end
return 1
