-- Takes over a client's state for a new connection, if the client proves that it is its own.
-- KEYS: the client's state
-- ARGV: hash of the private id · namespace · identity · new owner · new worker · life (ms)
-- returns: the fields as they were, name, value, …; nothing if the state is not there or not this client's
local state = redis.call('HMGET', KEYS[1], 'p', 'n', 'i')
if state[1] ~= ARGV[1] or state[2] ~= ARGV[2] or state[3] ~= ARGV[3] then
  return {}
end
local before = redis.call('HGETALL', KEYS[1])
redis.call('HSET', KEYS[1], 'o', ARGV[4], 'h', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return before
