-- Changes the state of a client that may be between two connections: enters a room, or ends it for its owner.
-- KEYS: the client's state
-- ARGV: 'enter' · field of the room · offset, or: 'end' · owner
-- returns: 1 if it did, else 0
if ARGV[1] == 'enter' then
  if redis.call('EXISTS', KEYS[1]) == 0 then
    return 0
  end
  redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[3])
  return 1
end
if redis.call('HGET', KEYS[1], 'o') ~= ARGV[2] then
  return 0
end
return redis.call('DEL', KEYS[1])
