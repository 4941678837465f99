// Space-Saving with a binary heap of counts.
#include "families/redis/space_saving.h"

#include <algorithm>

namespace exodus::redis {

void SpaceSaving::sift_down(std::size_t at) {
    for (;;) {
        std::size_t least = at;
        for (const std::size_t child : {2 * at + 1, 2 * at + 2}) {
            if (child < heap_.size() && items_[heap_[child]].count < items_[heap_[least]].count)
                least = child;
        }
        if (least == at) return;
        std::swap(heap_[at], heap_[least]);
        where_[heap_[at]] = static_cast<uint32_t>(at);
        where_[heap_[least]] = static_cast<uint32_t>(least);
        at = least;
    }
}

void SpaceSaving::add(std::string_view item, uint64_t weight) {
    if (capacity_ == 0) return;
    if (const auto found = index_.find(item); found != index_.end()) {
        items_[found->second].count += weight;
        sift_down(where_[found->second]);
        return;
    }
    if (items_.size() < capacity_) {
        const uint32_t at = static_cast<uint32_t>(items_.size());
        items_.push_back({std::string(item), weight, 0});
        index_.emplace(item, at);
        heap_.push_back(at);
        where_.push_back(at);
        // Up: a new item may be the smallest.
        for (std::size_t i = at; i > 0 && items_[heap_[(i - 1) / 2]].count > items_[heap_[i]].count;
             i = (i - 1) / 2) {
            std::swap(heap_[i], heap_[(i - 1) / 2]);
            where_[heap_[i]] = static_cast<uint32_t>(i);
            where_[heap_[(i - 1) / 2]] = static_cast<uint32_t>((i - 1) / 2);
        }
        return;
    }
    // The rarest item gives its place and its count, which is by how much the newcomer may be
    // overestimated.
    const uint32_t victim = heap_.front();
    index_.erase(items_[victim].text);
    items_[victim].text.assign(item);
    items_[victim].error = items_[victim].count;
    items_[victim].count += weight;
    index_.emplace(item, victim);
    sift_down(0);
}

std::vector<SpaceSaving::Item> SpaceSaving::top(std::size_t limit) const {
    std::vector<Item> all = items_;
    std::sort(all.begin(), all.end(), [](const Item& a, const Item& b) {
        return a.count != b.count ? a.count > b.count : a.text < b.text;
    });
    if (all.size() > limit) all.resize(limit);
    return all;
}

}  // namespace exodus::redis
