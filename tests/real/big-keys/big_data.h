// Keys of every type that are too big to be copied whole, and a seeded writer of the verbs that
// change them.
#pragma once

#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/redis_server.h"

namespace exodus::test {

struct BigSizes {
    int fields = 1'000'000;
    int members = 250'000;
    int entries = 120'000;
    int items = 200'000;
    int string_mb = 64;
};

/// "hash", "set", "zset", "stream", "list", "list:quiet", "string" in database 0, "hash" in
/// database 1, and small keys.
void fill_big(RedisServer& server, const BigSizes& sizes);

/// Several commands in one go; replies are thrown away.
void send_all(redisContext* context, const std::vector<std::vector<std::string>>& commands);

/// Writes until stopped.
class BigWriter {
  public:
    struct Options {
        uint64_t seed = 1;
        int64_t pause_us = 500;  ///< between commands
        bool hot_list = false;   ///< the list and the string change all the time
        bool wholesale = false;  ///< ZPOPMIN, ZREMRANGE, DEL and anew, RENAME, EXPIRE now and then
        BigSizes sizes;
    };
    BigWriter(int port, Options options);
    ~BigWriter() { stop(); }
    void stop();
    [[nodiscard]] uint64_t count() const { return count_; }

  private:
    std::vector<std::string> command();
    std::vector<std::string> of_elements();
    std::vector<std::string> of_stream();
    std::vector<std::string> wholesale();
    uint64_t pick(uint64_t n) { return random_() % n; }

    Options options_;
    std::mt19937_64 random_;
    std::atomic<bool> stop_{false};
    std::atomic<uint64_t> count_{0};
    int port_;
    std::thread thread_;
};

}  // namespace exodus::test
