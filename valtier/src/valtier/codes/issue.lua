-- Lets a subject have one more code, unless it had one just now, and stores it beside those that are still good.
--
-- KEYS[1]  the subject's state: codes (fields k…), failures (f…) and cooldowns (c…)
-- ARGV[1]  the cooldown's field
-- ARGV[2]  for how long no other is issued, in ms; 0 asks for no cooldown and begins none
-- ARGV[3]  the code's field; empty begins the cooldown only
-- ARGV[4]  what is stored of the code
-- ARGV[5]  how long it is good, in ms
-- ARGV[6]  how many wrong submissions it stands
-- ARGV[7]  how many codes may be good at once; the one that ends first makes room
-- returns  0, or in how many ms to ask again
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = now
if tonumber(ARGV[2]) > 0 then
  local until_ms = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0)
  if until_ms > now then
    return until_ms - now
  end
  last = now + ARGV[2]
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', last))
end
if ARGV[3] ~= '' then
  local good, first, first_ends = 0, nil, nil
  local fields = redis.call('HGETALL', KEYS[1])
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 1) == 'k' and fields[i] ~= ARGV[3] then
      local ends = tonumber(string.match(fields[i + 1], '^%d+'))
      if ends <= now then
        redis.call('HDEL', KEYS[1], fields[i])
      else
        good = good + 1
        if not first or ends < first_ends then
          first, first_ends = fields[i], ends
        end
      end
    end
  end
  if first and good >= tonumber(ARGV[7]) then
    redis.call('HDEL', KEYS[1], first)
  end
  local ends = now + ARGV[5]
  redis.call('HSET', KEYS[1], ARGV[3], string.format('%d:%d:', ends, ARGV[6]) .. ARGV[4])
  last = math.max(last, ends)
end
if redis.call('PEXPIRETIME', KEYS[1]) < last then
  redis.call('PEXPIREAT', KEYS[1], string.format('%d', last))
end
return 0
