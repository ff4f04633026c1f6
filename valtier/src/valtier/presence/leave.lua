-- Lets devices go after a while, in which they may come back without anybody noticing. A device of which another worker
-- holds a connection stays.
--
-- KEYS, ARGV[1..5] as in prelude.lua
-- ARGV[6]   the while, in ms; 0: at once
-- ARGV[7..] the devices, as user/device
-- returns   how many are leaving
local gone, mine = 0, {[worker] = true}
for i = 7, #ARGV do
  local member = ARGV[i]
  local held = redis.call('HGET', owners, member) or ''
  local rest = without(held, mine)
  if rest ~= held and rest ~= '' then
    redis.call('HSET', owners, member, rest)
  elseif rest ~= held then
    gone = gone + 1
    if ARGV[6] == '0' then
      remove(member, now)
    else
      redis.call('ZADD', devices, 'XX', 'LT', now + ARGV[6], member)
      redis.call('HSET', owners, member, '')
      redis.call('ZADD', workers, '+inf', '')
    end
  end
end
sweep()
finish()
return gone
