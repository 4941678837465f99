#include "copier.h"

#include <algorithm>

namespace exodus::redis::sim {

void Copier::step(uint64_t applied) {
    switch (doing_) {
        case Doing::nothing:
            if (called_back()) {
                generation_ = queue_.generation();
                place_ = queue_.place();
            }
            if (place_.phase != ScanPlace::Phase::done) scan();
            break;
        case Doing::comparing:
            compare(applied);
            break;
        case Doing::copying:
            copy();
            break;
        case Doing::sweeping:
            sweep(applied);
            break;
    }
}

void Copier::scan() {
    const bool sweeps = place_.phase == ScanPlace::Phase::sweep;
    const Server& server = sweeps ? destination_ : origin_.server();
    after_ = place_;
    auto at = static_cast<int>(*to_number(place_.cursor));
    for (uint64_t i = 0; i < 1 + dice_.pick(5) && at < kNames; ++i, ++at) {
        Key key = key_of(place_.db, at);
        if (in_scope_(key.name) && server.find({key.db, key.name}, now_) != nullptr)
            keys_.push_back(std::move(key));
    }
    after_.cursor = std::to_string(at);
    if (at == kNames) {
        after_.cursor = "0";
        if (++after_.db == kDatabases) {
            after_.db = 0;
            after_.phase =
                place_.repair && !sweeps ? ScanPlace::Phase::sweep : ScanPlace::Phase::done;
        }
    }
    const bool compares = place_.repair && !keys_.empty();
    doing_ = sweeps ? Doing::sweeping : compares ? Doing::comparing : Doing::copying;
}

void Copier::announce(std::vector<Key> keys) {
    parts_.push_back({queue_.begin(origin_.offset(), generation_), std::move(keys), {}});
    announced_ = true;
}

void Copier::read(Part& part) const {
    part.items.emplace();
    for (const auto& key : part.keys) part.items->push_back(origin_.read(key));
}

/// The first part; false: the page is given up.
bool Copier::deliver(std::vector<CopyItem> items, const ScanPlace& after) {
    const uint64_t id = parts_.front().id;
    parts_.pop_front();
    if (queue_.deliver(id, std::move(items), after, {})) return true;
    end_page();
    return false;
}

void Copier::end_page() {
    queue_.abandon();
    parts_.clear();
    keys_.clear();
    announced_ = false;
    doing_ = Doing::nothing;
}

/// The destination holds what the origin had.
bool Copier::on_destination(const CopyItem& item) const {
    return destination_.read(item.key, item.at, now_).bytes == item.bytes;
}

void Copier::compare(uint64_t applied) {
    if (called_back()) return end_page();
    if (parts_.empty()) {
        if (!queue_.idle()) return;
        announce(std::move(keys_));
        return read(parts_.front());
    }
    std::vector<CopyItem>& states = *parts_.front().items;
    if (applied < states.front().at) return;
    std::vector<CopyItem> equal;
    keys_.clear();
    for (auto& item : states) {
        if (!on_destination(item)) {
            keys_.push_back(item.key);
        } else if (!item.absent) {
            item.equal = true;
            item.bytes.clear();
            item.commands = 0;
            equal.push_back(std::move(item));
        }
    }
    if (!deliver(std::move(equal), place_)) return;
    announced_ = false;
    doing_ = Doing::copying;
}

void Copier::copy() {
    const bool more = !keys_.empty() || !announced_;
    if (more && (parts_.empty() || dice_.one_in(2))) {
        const std::size_t count = std::min<std::size_t>(keys_.size(), 1 + dice_.pick(3));
        const auto end = keys_.begin() + static_cast<std::ptrdiff_t>(count);
        announce({keys_.begin(), end});
        keys_.erase(keys_.begin(), end);
        return;
    }
    if (!parts_.front().items) return read(parts_.front());
    const bool last = !more && parts_.size() == 1;
    if (!deliver(std::move(*parts_.front().items), last ? after_ : place_) || !last) return;
    place_ = after_;
    end_page();
}

void Copier::sweep(uint64_t applied) {
    if (parts_.empty()) {
        announce(std::move(keys_));
        read(parts_.front());
        std::erase_if(*parts_.front().items, [](const CopyItem& item) { return !item.absent; });
        return;
    }
    std::vector<CopyItem>& extra = *parts_.front().items;
    if (!extra.empty() && called_back()) return end_page();
    if (!extra.empty() && applied < extra.front().at) return;
    std::erase_if(extra, [this](const CopyItem& item) { return on_destination(item); });
    if (!deliver(std::move(extra), after_)) return;
    place_ = after_;
    end_page();
}

}  // namespace exodus::redis::sim
