// hiredis' RESP2 reader with one piece of memory per reply: a chunk of the copy has hundreds of
// objects, which need not be hundreds of allocations. Not thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "base/error.h"
#include "families/redis/reply.h"

struct redisReader;

namespace exodus::redis {

class ReplyReader {
  public:
    ReplyReader();
    ~ReplyReader();
    ReplyReader(const ReplyReader&) = delete;
    ReplyReader& operator=(const ReplyReader&) = delete;

    /// Bytes as they came from the server. Error protocol: they cannot be kept.
    Status feed(std::span<const char> bytes);
    /// The next whole reply; an invalid one when more bytes are needed. Error protocol: the bytes
    /// are not RESP2, and nothing behind them can be read.
    Result<Reply> next();
    /// Between two replies: skips `text` when it is what comes next.
    bool skip(std::string_view text);
    /// What was fed and not used, for what is not RESP (PSYNC's answers); consume() skips some.
    [[nodiscard]] std::string_view unread() const;
    void consume(std::size_t bytes);

  private:
    struct Objects;  // what hiredis calls to make the objects of a reply

    std::unique_ptr<ReplyMemory> memory_;  ///< of the reply that is being read
    redisReader* reader_;
};

}  // namespace exodus::redis
