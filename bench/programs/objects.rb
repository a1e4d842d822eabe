# Strings, hashes, small objects, sorting: the allocations of a Ruby program.
scale = (ARGV[0] || "1").to_f
state = 42
pick = lambda do |bound|
  state = (state * 1103515245 + 12345) % 2147483648
  (state >> 16) % bound
end

Row = Struct.new(:id, :name, :tags, :score)

def words(pick, count)
  Array.new(count) { "w" + pick.call(5000).to_s + "x" * pick.call(60) }.join(" ")
end

2.times do
  rows = Array.new((8_000 * scale).to_i + 1) do |i|
    Row.new(i, words(pick, 3), Array.new(pick.call(5)) { |t| "tag#{t}#{pick.call(100)}" },
            pick.call(100_000))
  end
  seen = Hash.new(0)
  rows.each { |row| row.name.split.each { |word| seen[word] += 1 } }
  groups = rows.group_by { |row| row.name[0, 4] }
  short = rows.map { |row| row.name.gsub(/x+/, "-").sub(/w(\d)/) { $1.succ } }
  order = rows.sort_by { |row| [row.tags.size, row.name, row.score] }
  text = +""
  order.each { |row| text << row.name << ":" << row.tags.join(",") << "\n" }
  puts [seen.size, groups.size, short.sum(&:size), text.size, order[0].id].join(" ")
end
