-- Tells of one user whether they are there, after removing whoever is gone.
--
-- KEYS, ARGV[1..5] as in prelude.lua
-- ARGV[6]   the user
-- returns   the number of devices, and when the last one left (ms since 1970) or an empty text
sweep()
finish()
return {tonumber(redis.call('HGET', users, ARGV[6]) or '0'), redis.call('ZSCORE', seen, ARGV[6]) or ''}
