-- Where the log ends, for somebody who may only read. Nothing is written, so that the answer alone does not tell a primary
-- that was cut off: the time since the last tick that counts does.
-- KEYS: head, stream.
-- Answers: replication id ('' from a replica), record, ticks so far, last id ever given, first entry's id and bytes, last entry's
-- id and bytes, how long ago the last tick that counts was, in ms; '' for what there is not.
local function bytes(fields)
  for i = 1, #fields, 2 do
    if fields[i] == 'e' then return fields[i + 1] end
  end
  return ''
end

local info = redis.call('INFO', 'replication')
local replid = string.match(info, 'master_replid:(%x+)') or ''
if not string.find(info, 'role:master', 1, true) then replid = '' end
local answer = { replid, '', '0', '', '', '', '', '', '' }
if redis.call('TYPE', KEYS[1]).ok == 'hash' then
  answer[2] = redis.call('HGET', KEYS[1], 'record') or ''
  answer[3] = redis.call('HGET', KEYS[1], 'ticks') or '0'
  local ticked = tonumber(redis.call('HGET', KEYS[1], 'ticked') or '')
  if ticked then
    local time = redis.call('TIME')
    local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
    answer[9] = string.format('%.0f', now - ticked)
  end
end
if redis.call('TYPE', KEYS[2]).ok ~= 'stream' then return answer end
local info = redis.call('XINFO', 'STREAM', KEYS[2])
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then answer[4] = info[i + 1] end
end
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)
if first[1] then
  local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
  answer[5], answer[6] = first[1][1], bytes(first[1][2])
  answer[7], answer[8] = last[1][1], bytes(last[1][2])
end
return answer
