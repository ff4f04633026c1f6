-- Sets and removes fields of a session, each on its own.
--
-- KEYS[1]  the session
-- ARGV[1]  the hash of the token with which it was loaded
-- ARGV[2]  how many bytes names and values may have together
-- ARGV[3]  how many fields are set
-- ARGV[…]  names and values to set, then names to remove; names begin with a dot, which does not count
-- returns  1; -1 if there is no session, or the token is not its own any more; -2 if the data would be too large
local own, old, till, seen, idle, most = unpack(redis.call('HMGET', KEYS[1], 'h', 'p', 'pu', 't', 'i', 'x'))
if not (own and seen and idle and most) then
  return -1
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now >= tonumber(most) or now >= seen + idle then
  return -1
end
if own ~= ARGV[1] and not (old == ARGV[1] and till and tonumber(till) > now) then
  return -1
end
local last = 3 + 2 * ARGV[3]
local size = {}
local hash = redis.call('HGETALL', KEYS[1])
for i = 1, #hash, 2 do
  if string.sub(hash[i], 1, 1) == '.' then
    size[hash[i]] = #hash[i] - 1 + #hash[i + 1]
  end
end
for i = 4, last, 2 do
  size[ARGV[i]] = #ARGV[i] - 1 + #ARGV[i + 1]
end
for i = last + 1, #ARGV do
  size[ARGV[i]] = nil
end
local total = 0
for _, bytes in pairs(size) do
  total = total + bytes
end
if total > tonumber(ARGV[2]) then
  return -2
end
if last > 3 then
  redis.call('HSET', KEYS[1], unpack(ARGV, 4, last))
end
if #ARGV > last then
  redis.call('HDEL', KEYS[1], unpack(ARGV, last + 1))
end
return 1
