-- Takes the lease to fill an entry, if nobody has stored or leased it since the caller looked.
--
-- KEYS[1]  the entry
-- ARGV[1]  the lease's marker
-- ARGV[2]  how long the lease lasts, in ms
-- ARGV[3]  the first bytes of a dead entry that the caller saw and that may be replaced; empty if it saw none
-- returns  false if the lease is the caller's, else what is stored
local stored = redis.call('GET', KEYS[1])
local dead = ARGV[3]
if not stored or #stored == 0 or (#dead > 0 and string.sub(stored, 1, #dead) == dead) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return false
end
return stored
