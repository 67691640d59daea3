-- A shim says which sessions are there, or not any more, and everybody who listens is told what is news.
-- KEYS: the cluster's sessions, those that are gone; which clusters were told of when, their names.
-- ARGV: 1 the channel, 2 the cluster's digest, 3 its name, 4 how long the index is kept, in ms, 5 how long what is gone, in ms; then
-- for each event what happened ('k' there, and known whom for, 'u' there, 'g' gone), the session's digest, and what is sealed.
local function as(key, kind)
  local found = redis.call('TYPE', key).ok
  -- Somebody put something else there: it is as if nothing were.
  if found ~= kind and found ~= 'none' then redis.call('DEL', key) end
end
as(KEYS[1], 'hash')
as(KEYS[2], 'zset')
as(KEYS[3], 'zset')
as(KEYS[4], 'hash')
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local at = string.format('%.0f', now)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('(%.0f', now - tonumber(ARGV[5])))

for i = 6, #ARGV, 3 do
  local kind, session, sealed = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local gone = redis.call('ZSCORE', KEYS[2], session)
  local news = not gone
  if kind == 'g' then
    redis.call('HDEL', KEYS[1], session)
    if news then redis.call('ZADD', KEYS[2], at, session) end
  elseif news then
    local known = redis.call('HGET', KEYS[1], session)
    -- Who does not know whom it is for does not replace what somebody said who does.
    if kind == 'u' and known and string.sub(known, 1, 1) == 'k' then
      news = false
    else
      redis.call('HSET', KEYS[1], session, kind .. sealed)
    end
  end
  if news then redis.call('PUBLISH', ARGV[1], ARGV[2] .. session .. kind .. sealed) end
end

redis.call('ZADD', KEYS[3], at, ARGV[2])
redis.call('HSET', KEYS[4], ARGV[2], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('PEXPIRE', KEYS[3], ARGV[4])
redis.call('PEXPIRE', KEYS[4], ARGV[4])
return 1
