// The most frequent items of a stream in bounded memory (Metwally, Agrawal, El Abbadi: "Efficient
// computation of frequent and top-k elements in data streams", 2005). An item's count is at most
// its minimum error too high, never too low.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace exodus::redis {

class SpaceSaving {
  public:
    explicit SpaceSaving(std::size_t capacity) : capacity_(capacity) {}

    void add(std::string_view item, uint64_t weight = 1);

    struct Item {
        std::string text;
        uint64_t count = 0;
        uint64_t error = 0;  ///< of `count`, at most this may belong to items that were replaced
    };
    /// Most frequent first.
    [[nodiscard]] std::vector<Item> top(std::size_t limit) const;
    [[nodiscard]] std::size_t size() const { return items_.size(); }

  private:
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const {
            return std::hash<std::string_view>{}(text);
        }
    };
    void sift_down(std::size_t at);

    std::size_t capacity_;
    std::vector<Item> items_;
    std::vector<uint32_t> heap_;   ///< indexes of items_, the smallest count on top
    std::vector<uint32_t> where_;  ///< of each item in heap_
    std::unordered_map<std::string, uint32_t, Hash, std::equal_to<>> index_;
};

}  // namespace exodus::redis
