-- What every script of a room begins with. The room's keys are in one slot, and all of `devices`, `owners`, `workers`
-- and `users` exist or none does: where eviction took one, the others go too, and the workers enter what they know anew.
--
-- KEYS[1] devices  sorted set: user/device by the time (ms) at which it is gone unless it beats before
-- KEYS[2] owners   hash: user/device to the workers that hold a connection of it; empty for one that is leaving
-- KEYS[3] workers  sorted set: workers by the time at which they count as dead; the empty one, of who is leaving, never
-- KEYS[4] users    hash: user to the number of its devices
-- KEYS[5] seen     sorted set: users by the time at which their last device left
-- KEYS[6] version  counts the changes; a jump tells a reader that it missed some
-- ARGV[1] worker  ARGV[2] channel  ARGV[3] lease  ARGV[4] how long users stay in `seen`  ARGV[5] how many at most (ms)
local devices, owners, workers, users, seen, version = unpack(KEYS)
local worker, channel, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local joined, left, changes = {}, {}, 0

local function user_of(member)
  return string.match(member, '^[^/]*')
end

local function note(here, there, user)
  if there[user] then
    there[user] = nil
  else
    here[user] = true
  end
end

-- A list of workers, divided by blanks, without some of them.
local function without(list, some)
  local rest = {}
  for one in string.gmatch(list, '%S+') do
    if not some[one] then rest[#rest + 1] = one end
  end
  return table.concat(rest, ' ')
end

local function remove(member, at)
  if redis.call('ZREM', devices, member) == 0 then return end
  redis.call('HDEL', owners, member)
  local user = user_of(member)
  if redis.call('HINCRBY', users, user, -1) < 1 then
    redis.call('HDEL', users, user)
    redis.call('ZADD', seen, 'GT', at, user)
    note(left, joined, user)
  end
end

local function sweep()
  local dead = {}
  local ended = redis.call('ZRANGEBYSCORE', workers, '-inf', now, 'WITHSCORES')
  for i = 1, #ended, 2 do
    dead[ended[i]] = tonumber(ended[i + 1])
    redis.call('ZREM', workers, ended[i])
  end
  if next(dead) then
    local all = redis.call('HGETALL', owners)
    for i = 1, #all, 2 do
      local rest = without(all[i + 1], dead)
      if rest == all[i + 1] then
        -- on living workers only, or leaving
      elseif rest ~= '' then
        redis.call('HSET', owners, all[i], rest)
      else
        local at = 0
        for one in string.gmatch(all[i + 1], '%S+') do at = math.max(at, dead[one]) end
        remove(all[i], at)
      end
    end
  end
  local silent = redis.call('ZRANGEBYSCORE', devices, '-inf', now, 'WITHSCORES')
  for i = 1, #silent, 2 do remove(silent[i], silent[i + 1]) end
end

local function names(set)
  local list = {}
  for user in pairs(set) do list[#list + 1] = user end
  return table.concat(list, ' ')
end

local function finish()
  local there = redis.call('EXISTS', devices)
  if there == 0 then redis.call('DEL', workers) end
  changes = changes + ((next(joined) or next(left)) and 1 or 0)
  if changes == 0 and there == 0 then return end
  if redis.call('EXISTS', version) == 0 then redis.call('SET', version, now * 1000) end
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[4]) end
  if changes == 0 then return end
  redis.call('ZREMRANGEBYSCORE', seen, '-inf', now - ARGV[4])
  redis.call('ZREMRANGEBYRANK', seen, 0, -1 - ARGV[5])
  local number = redis.call('INCRBY', version, changes)
  redis.call('SPUBLISH', channel, string.format('%.0f', number) .. '\n' .. names(joined) .. '\n' .. names(left))
end

local whole = redis.call('EXISTS', devices, owners, workers, users)
if whole > 0 and whole < 4 then
  redis.call('DEL', devices, owners, workers, users)
  changes = 2 -- readers see the jump, and read anew
end
