-- Lets devices go after a while, in which they may come back without anybody noticing. A device that has come to another
-- worker meanwhile stays.
--
-- KEYS, ARGV[1..5] as in prelude.lua
-- ARGV[6]   the while, in ms; 0: at once
-- ARGV[7..] the devices, as user/device
-- returns   how many are leaving
local gone = 0
for i = 7, #ARGV do
  local member = ARGV[i]
  if redis.call('HGET', owners, member) == worker then
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
