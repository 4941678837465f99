// Replies of a Redis server as objects, for workflow threads: views into the memory that one Reply
// owns. Made by ReplyReader.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <string_view>
#include <utility>

#include "base/error.h"

struct redisReply;

namespace exodus::redis {

enum class ReplyType : uint8_t { string, array, integer, nil, status, error };

/// A reply, or an element of one. Valid as long as the Reply that owns it.
class ReplyView {
  public:
    ReplyView() = default;
    explicit ReplyView(const redisReply* raw) : raw_(raw) {}

    [[nodiscard]] bool valid() const { return raw_ != nullptr; }
    /// nil for an invalid view.
    [[nodiscard]] ReplyType type() const;
    [[nodiscard]] bool is_error() const { return type() == ReplyType::error; }
    [[nodiscard]] bool is_nil() const { return type() == ReplyType::nil; }
    [[nodiscard]] bool is_array() const { return type() == ReplyType::array; }
    /// True for "+OK".
    [[nodiscard]] bool is_ok() const;
    /// Bytes of a string, status or error; empty otherwise.
    [[nodiscard]] std::string_view text() const;
    /// Value of an integer, or of a string that is one; 0 otherwise.
    [[nodiscard]] int64_t integer() const;
    /// Elements of an array; 0 otherwise.
    [[nodiscard]] std::size_t size() const;
    /// Element of an array; an invalid view past the end.
    [[nodiscard]] ReplyView operator[](std::size_t index) const;
    /// Value behind `name` in a flat array of name/value pairs (XINFO, ACL GETUSER, CONFIG GET).
    [[nodiscard]] ReplyView field(std::string_view name) const;
    [[nodiscard]] const redisReply* raw() const { return raw_; }

  protected:
    const redisReply* raw_ = nullptr;
};

/// Memory of one reply. Short ones fit into it, longer ones take more from the heap.
struct ReplyMemory {
    std::array<std::byte, 192> first;
    std::pmr::monotonic_buffer_resource arena{first.data(), first.size()};
};

/// Owns a whole reply. Move-only.
class Reply : public ReplyView {
  public:
    Reply() = default;
    /// `raw` lies in `memory`, with everything it points to.
    Reply(const redisReply* raw, std::unique_ptr<ReplyMemory> memory)
        : ReplyView(raw), memory_(std::move(memory)) {}
    Reply(Reply&& other) noexcept
        : ReplyView(std::exchange(other.raw_, nullptr)), memory_(std::move(other.memory_)) {}
    Reply& operator=(Reply&& other) noexcept {
        raw_ = std::exchange(other.raw_, nullptr);
        memory_ = std::move(other.memory_);
        return *this;
    }

  private:
    std::unique_ptr<ReplyMemory> memory_;
};

/// An error reply as an Error: NOPERM, NOAUTH, WRONGPASS → permission; LOADING, MASTERDOWN,
/// CLUSTERDOWN, READONLY → unreachable; else data. `what` goes in front.
Error error_of(ReplyView reply, std::string_view what);
/// First word of an error reply: "NOPERM", "WRONGTYPE", "ERR", …
std::string_view error_word(ReplyView reply);

/// Turns an error reply of a Result into an Error with `what` in front.
Result<Reply> reject_error(Result<Reply> reply, std::string_view what);

}  // namespace exodus::redis
