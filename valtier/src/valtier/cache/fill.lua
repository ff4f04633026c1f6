-- Stores a loaded entry, if its lease still stands: an invalidation since then has removed the marker.
--
-- KEYS[1]  the entry
-- ARGV[1]  the lease's marker
-- ARGV[2]  the encoded entry; empty to give the lease back
-- ARGV[3]  how long the entry lives, in ms
-- returns  1 if the lease stood, else 0
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if #ARGV[2] == 0 then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
