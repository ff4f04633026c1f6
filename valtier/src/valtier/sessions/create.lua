-- Stores a session: a new one, which is added to its user's index; or a copy, if the lease for it still lies there.
--
-- KEYS[1]  the session
-- KEYS[2]  its user's index: a sorted set of names by their absolute limit; may be absent
-- ARGV[1]  its name
-- ARGV[2]  the marker of the lease that has to lie there; empty to store unconditionally
-- ARGV[3]  how long it may be idle, in ms
-- ARGV[4]  how long it lives at most from now, in ms
-- ARGV[5]  how long ago it was created, in ms
-- ARGV[6]  how long ago it was last seen, in ms
-- ARGV[7]  how long ago its token was made, in ms
-- ARGV[8]  for how long the user counts as recently authenticated, in ms
-- ARGV[9]  for how long the old token stands for it, in ms
-- ARGV[10] how long a copy lives at most, in ms; 0 if it is none
-- ARGV[…]  further fields and values
-- returns  1, or 0 if the lease is lost
if ARGV[2] ~= '' and redis.call('HGET', KEYS[1], 'l') ~= ARGV[2] then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number)
  return string.format('%.0f', number)
end
local idle, most, seen = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[6])
local ttl = math.min(idle - seen, most)
if ttl < 1 then
  redis.call('DEL', KEYS[1])
  return 0
end
-- The first write is one that a full server refuses: after any other it would let all pass.
redis.call('HSET', KEYS[1], 'i', text(idle), 'x', text(now + most), 'c', text(now - ARGV[5]), 't', text(now - seen),
  unpack(ARGV, 11))
if ARGV[2] ~= '' then
  redis.call('HDEL', KEYS[1], 'l')
end
if ARGV[7] ~= ARGV[5] then
  redis.call('HSET', KEYS[1], 'r', text(now - ARGV[7]))
end
if tonumber(ARGV[8]) > 0 then
  redis.call('HSET', KEYS[1], 'k', text(now + ARGV[8]))
end
if tonumber(ARGV[9]) > 0 then
  redis.call('HSET', KEYS[1], 'pu', text(now + ARGV[9]))
end
if tonumber(ARGV[10]) > 0 then
  redis.call('HSET', KEYS[1], 'z', text(now + ARGV[10]))
  ttl = math.min(ttl, tonumber(ARGV[10]))
end
redis.call('PEXPIRE', KEYS[1], text(math.ceil(ttl)))
if KEYS[2] then
  redis.call('ZADD', KEYS[2], text(now + most), ARGV[1])
  if redis.call('PTTL', KEYS[2]) < most then
    redis.call('PEXPIRE', KEYS[2], text(most))
  end
end
return 1
