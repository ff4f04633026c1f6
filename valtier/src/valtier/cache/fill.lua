-- Stores a loaded entry if what it is to replace still lies there: the marker of its lease, or the entry that it renews.
-- An invalidation has removed either.
--
-- KEYS[1]  the entry
-- ARGV[1]  how that begins which has to lie there
-- ARGV[2]  the encoded entry; empty to remove what lies there
-- ARGV[3]  how long the entry lives, in ms
-- returns  1 if it lay there, else 0
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then
  return 0
end
if #ARGV[2] == 0 then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
