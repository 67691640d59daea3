-- Writes another record over the one that was seen: a new epoch, or more that is known of the present one.
-- KEYS: head, stream. ARGV: the record that was seen ('' for none), the new one, the replication id that was seen,
-- the last id ever given that was seen, whether to throw the stream away, the channel.
-- Answers 1, or 0 if anything is not as it was seen.
if (redis.call('HGET', KEYS[1], 'record') or '') ~= ARGV[1] then return 0 end
local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
if replid ~= ARGV[3] then return 0 end
local last = ''
local kind = redis.call('TYPE', KEYS[2]).ok
if kind == 'stream' then
  local info = redis.call('XINFO', 'STREAM', KEYS[2])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
end
if last ~= ARGV[4] then return 0 end
redis.call('HSET', KEYS[1], 'record', ARGV[2])
if ARGV[5] == '1' then redis.call('UNLINK', KEYS[2]) end
redis.call('PUBLISH', ARGV[6], 'epoch')
return 1
