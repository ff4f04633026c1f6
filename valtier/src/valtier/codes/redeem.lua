-- Takes a token's subject, and removes this token and every other of the same subject and purpose.
--
-- KEYS[1]  the subject's state: tokens (fields k…) and cooldowns (c…)
-- ARGV[1]  the token's field
-- ARGV[2]  the digest of what the token is bound to; empty if it is bound to nothing
-- ARGV[3]  1 to look only and remove nothing
-- returns  the subject, or false if there is no such token, it has ended or is bound to something else
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if not stored then
  return false
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends, bound, subject = string.match(stored, '^(%d+):%d+:(%x*):(.*)$')
if tonumber(ends) <= now or bound ~= ARGV[2] then
  return false
end
if ARGV[3] ~= '1' then
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(field, 1, 1) == 'k' then
      redis.call('HDEL', KEYS[1], field)
    end
  end
end
return subject
