-- Compares a submitted code, counts a wrong one, and removes a right one: whoever comes next finds none.
--
-- KEYS[1]  the subject's state: codes (fields k…), failures (f…) and cooldowns (c…)
-- ARGV[1]  the code's field
-- ARGV[2]  the MAC of what was submitted
-- ARGV[3]  the failures' field
-- ARGV[4]  how many failures the subject stands
-- ARGV[5]  for how long they are counted, from the first on, in ms
-- returns  {1, 0} it was right; {0, submissions that the code still stands} it was wrong or there is none;
--          {-1, in how many ms to try again} there were too many failures, and nothing was compared
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local failures, window_ends = 0, now + ARGV[5]
local counted = redis.call('HGET', KEYS[1], ARGV[3])
if counted then
  local count, ends = string.match(counted, '^(%d+):(%d+)$')
  if tonumber(ends) > now then
    failures, window_ends = tonumber(count), tonumber(ends)
  end
end
if failures >= tonumber(ARGV[4]) then
  return {-1, window_ends - now}
end
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if not stored then
  return {0, 0}
end
local ends, stands, mac = string.match(stored, '^(%d+):(%d+):(.*)$')
if tonumber(ends) <= now then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return {0, 0}
end
if mac == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1], ARGV[3])
  return {1, 0}
end
redis.call('HSET', KEYS[1], ARGV[3], string.format('%d:%d', failures + 1, window_ends))
if redis.call('PEXPIRETIME', KEYS[1]) < window_ends then
  redis.call('PEXPIREAT', KEYS[1], string.format('%d', window_ends))
end
stands = tonumber(stands) - 1
if stands < 1 then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%s:%d:', ends, stands) .. mac)
end
return {0, stands}
