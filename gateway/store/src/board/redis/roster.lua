-- Who or what was noted within a time.
-- KEYS: when, what. ARGV: how long ago at most, in ms.
-- Answers: digest and value of each.
local answer = {}
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' or redis.call('TYPE', KEYS[2]).ok ~= 'hash' then return answer end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local since = string.format('%.0f', now - tonumber(ARGV[1]))
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], since, '+inf')) do
  local value = redis.call('HGET', KEYS[2], member)
  if value then
    answer[#answer + 1] = member
    answer[#answer + 1] = value
  end
end
return answer
