-- Tells who is there, after removing whoever is gone.
--
-- KEYS, ARGV[1..5] as in prelude.lua
-- returns   the version, then users and the numbers of their devices in turn
sweep()
finish()
redis.call('SET', version, now * 1000, 'NX', 'PX', 3600000) -- so that the next change is one more than what is told
local all = redis.call('HGETALL', users)
table.insert(all, 1, redis.call('GET', version))
return all
