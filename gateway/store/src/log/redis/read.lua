-- The entries after a place, with what stands before them and the record of where the log ends, all of one moment.
-- KEYS: head, stream. ARGV: the sequence after which, how many at most.
-- Answers: record, id and bytes of the last entry up to there, then id and bytes of each entry; '' for what there is not.
local function bytes(fields)
  for i = 1, #fields, 2 do
    if fields[i] == 'e' then return fields[i + 1] end
  end
  return ''
end

local answer = { redis.call('HGET', KEYS[1], 'record') or '', '', '' }
if redis.call('TYPE', KEYS[2]).ok ~= 'stream' then return answer end
local place = ARGV[1] .. '-18446744073709551615'
local before = redis.call('XREVRANGE', KEYS[2], place, '-', 'COUNT', 1)
if before[1] then answer[2], answer[3] = before[1][1], bytes(before[1][2]) end
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '(' .. place, '+', 'COUNT', ARGV[2])) do
  answer[#answer + 1] = entry[1]
  answer[#answer + 1] = bytes(entry[2])
end
return answer
