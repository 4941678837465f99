// The reads of one session that the side that follows still owes, in order: when it goes away or
// hangs the authority is asked instead.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "families/redis/fifo.h"

namespace exodus::redis {

class AskedReads {
  public:
    void add(std::string_view request) {
        sizes_.push(static_cast<uint32_t>(request.size()));
        text_.append(request);
    }
    /// The oldest one was.
    void answered() {
        if (sizes_.empty()) return;
        at_ += sizes_.front();
        sizes_.pop();
        if (sizes_.empty()) {
            text_.clear();
            at_ = 0;
        } else if (at_ > text_.size() / 2) {
            text_.erase(0, at_);
            at_ = 0;
        }
    }
    [[nodiscard]] std::size_t count() const { return sizes_.size(); }
    [[nodiscard]] std::size_t bytes() const { return text_.size() - at_; }
    /// All of them, oldest first; none is left.
    std::string take() {
        std::string out = std::exchange(text_, {});
        out.erase(0, std::exchange(at_, 0));
        sizes_.clear();
        return out;
    }

  private:
    std::string text_;
    std::size_t at_ = 0;
    Fifo<uint32_t> sizes_;
};

}  // namespace exodus::redis
