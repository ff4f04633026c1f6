-- Takes the lease to fill an entry in place of a dead one, if that still lies there, or nothing.
--
-- KEYS[1]  the entry
-- ARGV[1]  the lease's marker
-- ARGV[2]  how long the lease lasts, in ms
-- ARGV[3]  the first bytes of the dead entry, all of it if it is shorter than a header
-- returns  false if the lease is the caller's, else what is stored
local stored = redis.call('GET', KEYS[1])
if not stored or stored == ARGV[3] or (#ARGV[3] > 0 and string.sub(stored, 1, #ARGV[3]) == ARGV[3]) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return false
end
return stored
