// One movement between two test servers, and a seeded writer over the verbs of redis.md 4.1; shared
// by the tests of this folder.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>

#include "core/family.h"
#include "families/redis/flow.h"
#include "families/redis/movement.h"
#include "net/dialer.h"
#include "tests/support/redis_server.h"

namespace exodus::test {

/// A journal in one file, replaced at each change: what survives a kill is what the file holds.
class FileJournal : public Journal {
  public:
    explicit FileJournal(std::string path);
    Status save_position(std::string_view direction, std::string_view name,
                         std::string_view value) override;
    Result<std::optional<std::string>> load_position(std::string_view direction,
                                                     std::string_view name) override;
    Status erase_positions(std::string_view direction) override;
    Status add_item_error(const ItemError& error) override;
    Result<std::vector<ItemError>> item_errors(std::string_view direction,
                                               std::size_t limit) override;
    Status resolve_item_error(std::string_view direction, std::string_view location,
                              std::string_view key) override;
    Status add_item_changes(const std::vector<ItemChange>&) override { return {}; }
    Status replace_item_changes(std::string_view, const std::vector<std::string>&,
                                const std::vector<ItemChange>&) override {
        return {};
    }
    Status add_event(std::string_view severity, std::string_view code,
                     std::string_view text) override;
    std::vector<std::string> events();

  private:
    void store();
    std::string path_;
    std::mutex mutex_;
    std::map<std::string, std::string> positions_;
    std::vector<ItemError> errors_;
    std::vector<std::string> events_;
};

Settings settings_between(int source_port, int target_port);

/// The movements of both directions in this process.
struct Mover {
    Mover(const Settings& settings, const std::string& directory,
          const redis::MovementTuning& tuning = {}, std::unique_ptr<Dialer> dial = make_dialer());
    ~Mover();
    /// Waits until the destination holds everything up to the origin's end now.
    bool caught_up(Movement& movement, milliseconds timeout);

    Settings settings;
    std::unique_ptr<Dialer> dialer;
    FileJournal journal;
    FamilyContext context;
    std::unique_ptr<Movement> forward;
    std::unique_ptr<Movement> reverse;
};

/// Writes until stopped, on its own connection; the seed decides everything but time.
class Writer {
  public:
    struct Options {
        uint64_t seed = 1;
        int databases = 3;
        int keys = 40;
        bool flushes = false;
        bool swaps = false;
        int64_t pause_us = 0;  ///< between commands
        int modern = 7;        ///< verbs of this major version
    };
    Writer(int port, Options options);
    ~Writer() { stop(); }
    void stop();
    [[nodiscard]] uint64_t count() const { return count_; }
    /// One command on a given connection; for filling.
    void one(redisContext* context);

  private:
    std::vector<std::string> command();
    std::string key(const char* type);
    uint64_t pick(uint64_t n) { return random_() % n; }
    Options options_;
    std::mt19937_64 random_;
    std::atomic<bool> stop_{false};
    std::atomic<uint64_t> count_{0};
    int port_;
    std::thread thread_;
};

/// How often a server ran a command (lower case), by its own count.
uint64_t calls_of(RedisServer& server, const std::string& verb);

/// How many values of keys were read whole, by every way of the copy.
uint64_t reads_of(RedisServer& server);

/// Whether the journal has an event with this text.
bool has_event(Mover& mover, const std::string& text);

/// `count` commands of a Writer of this seed, now.
void write_some(RedisServer& server, uint64_t seed, int count);

/// Empty when equal; else the first differences.
std::string differences(RedisServer& left, RedisServer& right, int databases = 3);

/// Requires that `movement` catches up, and both to be equal then.
void require_equal(Mover& mover, Movement& movement, RedisServer& origin, RedisServer& destination);

/// The switch's steps C5, C6 and C8 for the data.
void switch_over(Movement& there, Movement& back, RedisServer& destination);

}  // namespace exodus::test
