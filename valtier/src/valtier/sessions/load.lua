-- Reads a session with the server's time. Where there is none, takes the lease to store a copy of it, if one is wanted.
--
-- KEYS[1]  the session
-- ARGV[1]  the lease's marker; empty to take none
-- ARGV[2]  how long the lease lasts, in ms
-- returns  {now in ms, {field, value, …}}; 1 if there is none and the lease was taken; else 0
local hash = redis.call('HGETALL', KEYS[1])
if #hash == 0 then
  if ARGV[1] == '' then
    return 0
  end
  redis.call('HSET', KEYS[1], 'l', ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
if hash[1] == 'l' then
  return 0
end
local time = redis.call('TIME')
return {time[1] * 1000 + math.floor(time[2] / 1000), hash}
