// Bodies of scripts by SHA1, for all workers of the process: after a switch EVALSHA of a script
// that only the other side has cached becomes an EVAL (redis.md 3.3). Bounded; the least recently
// used goes. Thread-safe.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace exodus::redis {

class ScriptCache {
  public:
    /// Remembers a body (of EVAL or SCRIPT LOAD).
    void remember(std::string_view body);
    /// The body of a lower- or upper-case SHA1.
    [[nodiscard]] std::optional<std::string> body(std::string_view sha1);
    [[nodiscard]] std::vector<std::string> bodies() const;
    /// SCRIPT FLUSH.
    void clear();

  private:
    struct Entry {
        std::string sha1;
        std::string body;
    };
    mutable std::mutex mutex_;
    std::list<Entry> entries_;  ///< most recently used first
    std::map<std::string, std::list<Entry>::iterator, std::less<>> by_sha1_;
    std::size_t bytes_ = 0;
};

}  // namespace exodus::redis
