// Much work for the compiler's memory: containers and algorithms over many distinct types.
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

template <int N> struct key {
    int value;
    bool operator<(const key &other) const { return value < other.value; }
    bool operator==(const key &other) const { return value == other.value; }
};

template <int N> struct hash_of {
    std::size_t operator()(const key<N> &k) const { return std::hash<int>()(k.value * 31 + N); }
};

template <int N> struct store {
    std::map<key<N>, std::string> ordered;
    std::unordered_map<key<N>, std::vector<std::string>, hash_of<N>> hashed;
    std::variant<int, std::string, std::unique_ptr<key<N>>> any;

    int fill(int count)
    {
        for (int i = 0; i < count; i++) {
            key<N> k{i * 7 % 101};
            ordered[k] += std::to_string(i);
            hashed[k].push_back(ordered[k]);
            any = std::make_unique<key<N>>(k);
        }
        return static_cast<int>(ordered.size() + hashed.size() + any.index());
    }

    std::vector<std::pair<key<N>, std::string>> sorted() const
    {
        std::vector<std::pair<key<N>, std::string>> all(ordered.begin(), ordered.end());
        std::sort(all.begin(), all.end(), [](const auto &a, const auto &b) {
            return std::tie(a.second, a.first) < std::tie(b.second, b.first);
        });
        return all;
    }
};

template <int... N> int fill_all(std::integer_sequence<int, N...>)
{
    auto stores = std::make_tuple(store<N>()...);
    int total = (std::get<N>(stores).fill(N + 10) + ... + 0);
    return total + (static_cast<int>(std::get<N>(stores).sorted().size()) + ... + 0);
}

int use_templates()
{
    return fill_all(std::make_integer_sequence<int, 2>());
}
