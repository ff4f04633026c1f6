-- Charges one attempt to sign in on several counters, if none of them is used up; else on none.
--
-- KEYS     the counters, all in one slot; then, if ARGV[1] is not 0, a mark
-- ARGV[1]  the number of the counter that does not count where the mark exists; 0: each counts; -1: each counts, and
--          without the mark nothing passes and nothing is charged
-- ARGV     then three for each counter: how many attempts, in how many ms, for how many ms it refuses once they are used up
--          (0: until its time is over; else its time begins anew with each attempt)
-- returns  1 if it passes, the number of the counter that refuses for longest (if it passes: of the one that was waived),
--          and for how many ms it does
local count = (#ARGV - 1) / 3
local waived, refusing, wait = tonumber(ARGV[1]), 0, -1
if waived > 0 and redis.call('EXISTS', KEYS[count + 1]) == 0 then
  waived = 0
end
if waived < 0 then
  if redis.call('EXISTS', KEYS[count + 1]) == 0 then
    return {0, 0, 0}
  end
  waived = 0
end
local taken = {}
for i = 1, count do
  taken[i] = tonumber(redis.call('GET', KEYS[i]) or 0)
  if i ~= waived and taken[i] >= tonumber(ARGV[3 * i - 1]) then
    local left = redis.call('PTTL', KEYS[i])
    if left > wait then
      refusing, wait = i, left
    end
  end
end
if refusing > 0 then
  return {0, refusing, wait}
end
for i = 1, count do
  if i ~= waived then
    local number, ttl_ms, hold_ms = taken[i] + 1, tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
    if hold_ms > 0 then
      redis.call('SET', KEYS[i], number, 'PX', number >= tonumber(ARGV[3 * i - 1]) and hold_ms or ttl_ms)
    elseif taken[i] == 0 then
      redis.call('SET', KEYS[i], number, 'PX', ttl_ms)
    else
      redis.call('SET', KEYS[i], number, 'KEEPTTL')
    end
  end
end
return {1, waived, 0}
