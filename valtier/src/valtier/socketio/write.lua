-- Writes a client's whole state, unless another connection has taken it over.
-- KEYS: the client's state
-- ARGV: owner · life (ms) · name and value of each field
-- returns: 1; -1 if another connection owns it
local owner = redis.call('HGET', KEYS[1], 'o')
if owner and owner ~= ARGV[1] then
  return -1
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'o', ARGV[1])
for i = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
