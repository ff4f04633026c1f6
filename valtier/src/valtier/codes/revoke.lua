-- Removes every code of a subject; its failures and cooldowns stay.
--
-- KEYS[1]  the subject's state: codes (fields k…), failures (f…) and cooldowns (c…)
-- returns  how many there were
local removed = 0
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 1) == 'k' then
    removed = removed + redis.call('HDEL', KEYS[1], field)
  end
end
return removed
