-- Appends a worker's next events to a stream, each once and in order, and trims what is past the history.
-- KEYS: stream · the worker's last number in it
-- ARGV: worker · first number · '1' to accept a gap before it · most entries · history (ms) · life of the number (ms) ·
--       then for each event: payload · the id that it had in a stream that was lost, or ''
-- returns: {'ok', id of each, '' for those that were there already} · {'behind', the last number that is there}
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local first = tonumber(ARGV[2])
if first > last + 1 and ARGV[3] ~= '1' then
  return {'behind', tostring(last)}
end
local ids = {'ok'}
local number = first
for i = 7, #ARGV, 2 do
  if number <= last then
    ids[#ids + 1] = ''
  elseif ARGV[i + 1] == '' then
    ids[#ids + 1] = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*',
      'h', ARGV[1], 's', number, 'm', ARGV[i])
  else
    ids[#ids + 1] = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*',
      'h', ARGV[1], 's', number, 'm', ARGV[i], 'w', ARGV[i + 1])
  end
  number = number + 1
end
redis.call('SET', KEYS[2], math.max(last, number - 1), 'PX', ARGV[6])
local now = redis.call('TIME')
local oldest = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000) - tonumber(ARGV[5])
redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', oldest))
return ids
