-- Prolongs a worker's lease and removes whoever is gone: missed beats, dead workers.
--
-- KEYS, ARGV[1..5] as in prelude.lua
-- returns   1; 0 if the worker has no lease, so that what it knows has to be entered anew
local held = redis.call('ZSCORE', workers, worker)
if held then redis.call('ZADD', workers, now + lease, worker) end
sweep()
finish()
return held and 1 or 0
