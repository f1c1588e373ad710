-- The most frequent words of a text, with the share of the text that they cover together.
-- usage: lua wordfreq.lua [how many] < text

local wanted = tonumber(arg and arg[1]) or 20
local counts, total = {}, 0

for line in io.lines() do
  for word in line:lower():gmatch("[%a'\128-\255]+") do
    counts[word] = (counts[word] or 0) + 1
    total = total + 1
  end
end

local words = {}
for word in pairs(counts) do
  words[#words + 1] = word
end

table.sort(words, function(a, b)
  if counts[a] ~= counts[b] then
    return counts[a] > counts[b]
  end
  return a < b -- equal counts in a stable order, so that two runs print the same
end)

local covered = 0
for rank = 1, math.min(wanted, #words) do
  local word = words[rank]
  covered = covered + counts[word]
  print(string.format("%4d  %-20s %7d  %5.1f %%", rank, word, counts[word], 100 * covered / total))
end
