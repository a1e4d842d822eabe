-- Tables, strings, closures: the allocations of an embedded interpreter.
local scale = tonumber(arg[1] or "1")
local state = 42

local function pick(bound)
    state = (state * 1103515245 + 12345) % 2147483648
    return math.floor(state / 65536) % bound
end

local function tree(depth)
    if depth == 0 then
        return { value = pick(100) }
    end
    return { left = tree(depth - 1), right = tree(depth - 1), name = "node" .. pick(1000) }
end

local function total(node)
    if node.value then
        return node.value
    end
    return total(node.left) + total(node.right) + #node.name
end

local function strings(count)
    local parts, seen = {}, {}
    for i = 1, count do
        local word = string.rep(string.char(97 + pick(26)), 1 + pick(40)) .. pick(2000)
        seen[word] = (seen[word] or 0) + 1
        parts[#parts + 1] = word
    end
    table.sort(parts)
    return #table.concat(parts, " "), parts[1]
end

local function closures(count)
    local list = {}
    for i = 1, count do
        local kept = { i, i + 1 }
        list[1 + pick(count)] = function() return kept[1] + kept[2] end
    end
    local sum = 0
    for _, call in pairs(list) do
        sum = sum + call()
    end
    return sum
end

for _ = 1, math.max(1, math.floor(6 * scale)) do
    print(total(tree(14)), strings(40000), closures(60000))
end
