-- Appends one entry, with the record of where the log then ends, what makes it idempotent, and its announcement.
-- KEYS: head, stream, and the idempotency record if there is one.
-- ARGV: 1 the record that was seen, 2 the new one, 3 the replication id it names, 4 the entry's id, 5 its bytes,
-- 6 the channel, 7 how long entries are kept, in ms, 8 how many at most, 9 the idempotency record ('' for none),
-- 10 how long that is kept, in ms, 11 the idempotency record that was seen and does not count ('' for none).
-- Answers: what happened ('done', 'repeated', 'moved', 'epoch', 'stream'), and the idempotency record or head's record that is
-- there instead.
if KEYS[3] then
  local before = redis.call('GET', KEYS[3])
  if before and before ~= ARGV[11] then
    -- A write, so that waiting for replicas afterwards waits for what was written before, too.
    redis.call('HINCRBY', KEYS[1], 'ticks', 1)
    return { 'repeated', before }
  end
end
local record = redis.call('HGET', KEYS[1], 'record') or ''
if record ~= ARGV[1] then return { 'moved', record } end
local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
if replid ~= ARGV[3] then return { 'epoch', '' } end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- The first write: whatever refuses writes refuses here, before anything was changed.
local added = redis.pcall('XADD', KEYS[2], ARGV[4], 't', string.format('%.0f', now), 'e', ARGV[5])
if type(added) == 'table' and added.err then
  if string.find(added.err, 'equal or smaller', 1, true) or string.find(added.err, 'WRONGTYPE', 1, true) then
    return { 'stream', '' }
  end
  return added
end
redis.call('HSET', KEYS[1], 'record', ARGV[2])
if KEYS[3] then redis.call('SET', KEYS[3], ARGV[9], 'PX', ARGV[10]) end
redis.call('PUBLISH', ARGV[6], ARGV[4])

local oldest = now - tonumber(ARGV[7])
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 16)) do
  local fields = entry[2]
  local at = 0
  for i = 1, #fields, 2 do
    if fields[i] == 't' then at = tonumber(fields[i + 1]) or 0 end
  end
  if at >= oldest then break end
  redis.call('XDEL', KEYS[2], entry[1])
end
redis.call('XTRIM', KEYS[2], 'MAXLEN', '=', ARGV[8])
return { 'done', '' }
