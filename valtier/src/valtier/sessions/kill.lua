-- Ends sessions of one user, and tells everybody who listens.
--
-- KEYS[1]  the user's index
-- KEYS[…]  the sessions
-- ARGV[1]  the channel
-- ARGV[2]  why, one letter
-- ARGV[…]  the names of the sessions, in the order of the keys
-- returns  the names of those that there were
local ended = {}
for i = 2, #KEYS do
  local name = ARGV[i + 1]
  redis.call('ZREM', KEYS[1], name)
  if redis.call('UNLINK', KEYS[i]) == 1 then
    ended[#ended + 1] = name
    redis.call('PUBLISH', ARGV[1], ARGV[2] .. name)
  end
end
return ended
