-- Notes how far a connected client has come, and keeps its state alive.
-- KEYS: the client's state
-- ARGV: owner · offset · life (ms)
-- returns: 1; 0 if the state is gone, -1 if another connection owns it
local owner = redis.call('HGET', KEYS[1], 'o')
if not owner then
  return 0
end
if owner ~= ARGV[1] then
  return -1
end
redis.call('HSET', KEYS[1], 'a', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
