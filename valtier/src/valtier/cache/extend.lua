-- Makes a lease last longer, if it still stands.
--
-- KEYS[1]  where the lease lies
-- ARGV[1]  its marker
-- ARGV[2]  how long it lasts from now, in ms
-- returns  1 if it stood, else 0
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
