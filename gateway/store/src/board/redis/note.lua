-- A shim says that it is there, and that its cluster is.
-- KEYS: who was there when, presences; which clusters were told of when, their names; the cluster's sessions.
-- ARGV: 1 the shim's digest, 2 its presence, 3 how long it is there by it, in ms, 4 the cluster's digest, 5 its name, 6 how long that is
-- kept, in ms.
local function as(key, kind)
  local found = redis.call('TYPE', key).ok
  -- Somebody put something else there: it is as if nothing were.
  if found ~= kind and found ~= 'none' then redis.call('DEL', key) end
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function note(when, what, member, value, lifetime)
  as(when, 'zset')
  as(what, 'hash')
  local before = string.format('(%.0f', now - tonumber(lifetime))
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', when, '-inf', before, 'LIMIT', 0, 256)) do
    redis.call('ZREM', when, old)
    redis.call('HDEL', what, old)
  end
  redis.call('ZADD', when, string.format('%.0f', now), member)
  redis.call('HSET', what, member, value)
  redis.call('PEXPIRE', when, lifetime)
  redis.call('PEXPIRE', what, lifetime)
end
note(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
note(KEYS[3], KEYS[4], ARGV[4], ARGV[5], ARGV[6])
redis.call('PEXPIRE', KEYS[5], ARGV[6])
return 1
