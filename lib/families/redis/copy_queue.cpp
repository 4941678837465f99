#include "families/redis/copy_queue.h"

#include <algorithm>
#include <fmt/format.h>
#include <sstream>

#include "base/limits.h"

namespace exodus::redis {

std::string ScanPlace::text() const {
    return fmt::format("{} {} {} {} {}", static_cast<int>(phase), repair ? 1 : 0, db, cursor,
                       run_id.empty() ? "-" : run_id);
}

std::optional<ScanPlace> ScanPlace::parse(std::string_view text) {
    std::istringstream in{std::string(text)};
    ScanPlace place;
    int phase = 0;
    int repair = 0;
    if (!(in >> phase >> repair >> place.db >> place.cursor >> place.run_id) || phase < 0 ||
        phase > 2)
        return std::nullopt;
    place.phase = static_cast<Phase>(phase);
    place.repair = repair != 0;
    return place;
}

uint64_t CopyQueue::begin(uint64_t floor, uint64_t generation) {
    const std::lock_guard lock(mutex_);
    const uint64_t id = next_id_++;
    if (generation != generation_) return id;
    Chunk chunk;
    chunk.id = id;
    chunk.floor = floor;
    chunks_.push_back(std::move(chunk));
    return id;
}

namespace {

/// What it holds, and 16 bytes of the allocator's for each of its two texts.
std::size_t memory_of(const CopyItem& item) {
    return sizeof(CopyItem) + item.bytes.capacity() + item.key.name.capacity() + 2 * 16;
}

}  // namespace

bool CopyQueue::deliver(uint64_t id, std::vector<CopyItem> items, const ScanPlace& after,
                        const std::stop_token& stop) {
    std::size_t bytes = 0;
    for (const auto& item : items) bytes += memory_of(item);
    std::unique_lock lock(mutex_);
    const auto find = [&] {
        return std::find_if(chunks_.begin(), chunks_.end(),
                            [id](const Chunk& chunk) { return chunk.id == id; });
    };
    changed_.wait(lock, stop, [&] {
        return bytes_ == 0 || bytes_ + bytes <= limits::kCopyQueue_bytes || find() == chunks_.end();
    });
    const auto chunk = find();
    if (chunk == chunks_.end() || stop.stop_requested()) return false;
    chunk->items = std::move(items);
    chunk->bytes = bytes;
    chunk->after = after;
    chunk->delivered = true;
    bytes_ += bytes;
    return true;
}

CopyQueue::Batch CopyQueue::take(std::size_t items_max, std::size_t bytes_max) {
    const std::lock_guard lock(mutex_);
    Batch batch;
    std::size_t bytes = 0;
    for (std::size_t i = taken_; i < chunks_.size() && chunks_[i].delivered; ++i) {
        Chunk& chunk = chunks_[i];
        if (batch.chunks > 0 && (batch.items.size() + chunk.items.size() > items_max ||
                                 bytes + chunk.bytes > bytes_max))
            break;
        bytes += chunk.bytes;
        for (auto& item : chunk.items) batch.items.push_back(std::move(item));
        chunk.items.clear();
        ++batch.chunks;
        ++taken_;
    }
    return batch;
}

void CopyQueue::finish() {
    const std::lock_guard lock(mutex_);
    for (; taken_ > 0; --taken_) {
        place_ = chunks_.front().after;
        bytes_ -= chunks_.front().bytes;
        chunks_.pop_front();
    }
    changed_.notify_all();
}

void CopyQueue::abandon() {
    const std::lock_guard lock(mutex_);
    std::erase_if(chunks_, [](const Chunk& chunk) { return !chunk.delivered; });
}

void CopyQueue::drop_all() { restart(place()); }

void CopyQueue::restart(const ScanPlace& place) {
    const std::lock_guard lock(mutex_);
    chunks_.clear();
    taken_ = 0;
    bytes_ = 0;
    place_ = place;
    ++generation_;
    changed_.notify_all();
}

void CopyQueue::drop_db(int db) {
    const std::lock_guard lock(mutex_);
    for (auto& chunk : chunks_)
        std::erase_if(chunk.items, [db](const CopyItem& item) { return item.key.db == db; });
    // A chunk that is being read may hold keys from before: it is dropped, and the copier reads it
    // again.
    const auto undelivered = std::find_if(chunks_.begin(), chunks_.end(),
                                          [](const Chunk& chunk) { return !chunk.delivered; });
    if (undelivered == chunks_.end()) return;
    chunks_.erase(undelivered, chunks_.end());
    ++generation_;
    changed_.notify_all();
}

uint64_t CopyQueue::floor() const {
    const std::lock_guard lock(mutex_);
    return chunks_.empty() ? kNoOffset : chunks_.front().floor;
}

ScanPlace CopyQueue::place() const {
    const std::lock_guard lock(mutex_);
    return place_;
}

uint64_t CopyQueue::generation() const {
    const std::lock_guard lock(mutex_);
    return generation_;
}

bool CopyQueue::idle() const {
    const std::lock_guard lock(mutex_);
    return chunks_.empty();
}

}  // namespace exodus::redis
