-- Lets devices in, or prolongs their stay: a beat. Who was thought gone is back.
--
-- KEYS, ARGV[1..5] as in prelude.lua
-- ARGV[6]   how long a device stays without a beat, in ms
-- ARGV[7..] the devices, as user/device
-- returns   how many were not there before
local new, mine = 0, {[worker] = true}
redis.call('ZADD', workers, now + lease, worker)
for i = 7, #ARGV do
  local member = ARGV[i]
  local added = redis.call('ZADD', devices, now + ARGV[6], member)
  local held = redis.call('HGET', owners, member) or ''
  if held == '' then
    redis.call('HSET', owners, member, worker)
  elseif without(held, mine) == held then
    redis.call('HSET', owners, member, held .. ' ' .. worker)
  end
  if added == 1 then
    new = new + 1
    local user = user_of(member)
    if redis.call('HINCRBY', users, user, 1) == 1 then note(joined, left, user) end
  end
end
sweep()
finish()
return new
