-- A shim says what it has done for an entry.
-- KEYS: what was done for it. ARGV: the shim's digest, what it says, how long that is kept, in ms, the channel.
local found = redis.call('TYPE', KEYS[1]).ok
if found ~= 'hash' and found ~= 'none' then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], 'x')
return 1
