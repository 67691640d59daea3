-- Where the log ends. A write, so that a replica, or a primary without the replicas it must have, refuses.
-- KEYS: head, stream. ARGV: how long entries are kept, in ms; '1' if the tick counts by itself, so that those who only
-- watch may go by it ('0': only when replicas have it).
-- Answers: replication id, record, ticks so far, last id ever given, first entry's id and bytes, last entry's id and bytes, the
-- server's time, in ms; '' for what there is not.
local function bytes(fields)
  for i = 1, #fields, 2 do
    if fields[i] == 'e' then return fields[i + 1] end
  end
  return ''
end
local function added(fields)
  for i = 1, #fields, 2 do
    if fields[i] == 't' then return tonumber(fields[i + 1]) or 0 end
  end
  return 0
end

local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
local kind = redis.call('TYPE', KEYS[1]).ok
-- Somebody put something else there: it is as if nothing were.
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local record = redis.call('HGET', KEYS[1], 'record') or ''
local ticks = redis.call('HINCRBY', KEYS[1], 'ticks', 1)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local millis = string.format('%.0f', now)
if ARGV[2] == '1' then redis.call('HSET', KEYS[1], 'ticked', millis) end
local answer = { replid, record, tostring(ticks), '', '', '', '', '', millis }
if redis.call('TYPE', KEYS[2]).ok ~= 'stream' then return answer end

local oldest = now - tonumber(ARGV[1])
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)
if first[1] and added(first[1][2]) < oldest then
  for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 64)) do
    if added(entry[2]) >= oldest then break end
    redis.call('XDEL', KEYS[2], entry[1])
  end
  first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)
end
local info = redis.call('XINFO', 'STREAM', KEYS[2])
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then answer[4] = info[i + 1] end
end
if first[1] then
  local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
  answer[5], answer[6] = first[1][1], bytes(first[1][2])
  answer[7], answer[8] = last[1][1], bytes(last[1][2])
end
return answer
