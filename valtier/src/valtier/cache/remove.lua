-- Removes an entry, or the marker of a lease to fill it.
--
-- KEYS[1]  the entry
-- ARGV[1]  the first byte of an entry
-- returns  1 if an entry lay there, 0 if nothing or a marker
local was_entry = redis.call('GETRANGE', KEYS[1], 0, 0) == ARGV[1]
redis.call('UNLINK', KEYS[1])
return was_entry and 1 or 0
