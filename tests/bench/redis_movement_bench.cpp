// Copy and apply rates of the Redis data movement beside the target's own limit (RESTORE pipelined
// from memory), in one run. Prints keys/s, MB/s, changes/s and CPU of both servers; asserts
// nothing.
#include <cstdlib>
#include <fmt/format.h>
#include <map>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <unistd.h>

#include "families/registry.h"
#include "net/dialer.h"
#include "tests/support/compare_servers.h"
#include "tests/support/ledger.h"

using namespace exodus;
using namespace exodus::test;

namespace {

/// A journal that forgets at the end of the process: durability is not what is measured.
class MemoryJournal : public Journal {
  public:
    Status save_position(std::string_view direction, std::string_view name,
                         std::string_view value) override {
        const std::lock_guard lock(mutex_);
        positions_[fmt::format("{}/{}", direction, name)] = value;
        return {};
    }
    Result<std::optional<std::string>> load_position(std::string_view direction,
                                                     std::string_view name) override {
        const std::lock_guard lock(mutex_);
        const auto found = positions_.find(fmt::format("{}/{}", direction, name));
        return found == positions_.end() ? std::nullopt : std::optional(found->second);
    }
    Status erase_positions(std::string_view) override { return positions_.clear(), Status{}; }
    Status add_item_error(const ItemError& error) override {
        fmt::print("failed: {}\n", error.reason);
        return {};
    }
    Result<std::vector<ItemError>> item_errors(std::string_view, std::size_t) override {
        return std::vector<ItemError>{};
    }
    Status resolve_item_error(std::string_view, std::string_view, std::string_view) override {
        return {};
    }
    Status add_event(std::string_view severity, std::string_view code,
                     std::string_view text) override {
        fmt::print("event {} {}: {}\n", severity, code, text);
        return {};
    }

  private:
    std::mutex mutex_;
    std::map<std::string, std::string> positions_;
};

double cpu_seconds(pid_t pid) {
    const std::string stat = read_file(fmt::format("/proc/{}/stat", pid));
    std::istringstream fields(stat.substr(stat.rfind(')') + 2));
    std::string skipped;
    for (int i = 0; i < 11; ++i) fields >> skipped;
    double user = 0;
    double system = 0;
    fields >> user >> system;
    return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

void pipeline(redisContext* context, const std::vector<std::vector<std::string>>& requests) {
    std::size_t answered = 0;
    const auto answer = [&] {
        void* raw = nullptr;
        if (redisGetReply(context, &raw) != REDIS_OK) throw std::runtime_error("connection lost");
        const ReplyPtr reply(static_cast<redisReply*>(raw), freeReplyObject);
        if (reply->type == REDIS_REPLY_ERROR) throw std::runtime_error(to_text(reply.get()));
        ++answered;
    };
    for (std::size_t i = 0; i < requests.size(); ++i) {
        std::vector<const char*> words;
        std::vector<size_t> sizes;
        for (const auto& word : requests[i]) {
            words.push_back(word.data());
            sizes.push_back(word.size());
        }
        redisAppendCommandArgv(context, static_cast<int>(words.size()), words.data(), sizes.data());
        if (i - answered >= 1000) {
            while (answered <= i) answer();
        }
    }
    while (answered < requests.size()) answer();
}

/// The limit: payloads in memory, RESTORE over one connection.
double restore_keys_per_s(RedisServer& source, RedisServer& target, uint64_t keys) {
    const auto from = source.connect();
    const auto to = target.connect();
    std::vector<std::vector<std::string>> requests;
    for (uint64_t i = 0; i < keys; ++i) {
        const std::string key = fmt::format("key:{:012}", i);
        const auto dump = send_command(from.get(), {"DUMP", key});
        requests.push_back({"RESTORE", key, "0", std::string(dump->str, dump->len), "REPLACE"});
    }
    const int64_t start_us = steady_us();
    pipeline(to.get(), requests);
    const double seconds = static_cast<double>(steady_us() - start_us) / 1e6;
    send_command(to.get(), {"FLUSHALL"});
    return static_cast<double>(keys) / seconds;
}

template <class Condition>
double seconds_until(Condition condition) {
    const int64_t start_us = steady_us();
    if (!eventually(milliseconds(300'000), condition, milliseconds(5)))
        throw std::runtime_error("did not end in time");
    return static_cast<double>(steady_us() - start_us) / 1e6;
}

}  // namespace

int main(int argc, char** argv) try {
    const uint64_t keys = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 300'000;
    const uint64_t changes = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 500'000;
    RedisServer source;
    RedisServer target({Engine::valkey, {}, {}});
    const auto writer = source.connect();
    std::vector<std::vector<std::string>> fill;
    for (uint64_t i = 0; i < keys; ++i)
        fill.push_back({"SET", fmt::format("key:{:012}", i), std::string(64, 'x')});
    pipeline(writer.get(), fill);
    const double limit = restore_keys_per_s(source, target, std::min<uint64_t>(keys, 100'000));

    Settings settings;
    settings.migration = "bench";
    settings.family = "redis";
    const auto endpoint = [](Side side, const RedisServer& server) {
        Endpoint end;
        end.side = side;
        end.family = "redis";
        end.host = "127.0.0.1";
        end.port = static_cast<uint16_t>(server.port());
        return end;
    };
    settings.source = endpoint(Side::source, source);
    settings.target = endpoint(Side::target, target);
    settings.family_options["copy.cpu"] = "1";
    const TempDir directory;
    MemoryJournal journal;
    const auto dialer = make_dialer();
    const auto family = make_family("redis");
    const FamilyContext context{settings, *dialer, journal, directory.path()};
    const auto movement = family->make_movement(context, Direction::forward);

    const double source_cpu = cpu_seconds(source.pid());
    const double target_cpu = cpu_seconds(target.pid());
    const double own_cpu = cpu_seconds(getpid());
    if (auto status = movement->set_mode(MovementMode::apply); !status)
        throw std::runtime_error(status.error().message);
    const double copy_s =
        seconds_until([&] { return movement->status().stage == MovementStage::following; });
    const double per_key = 1e6 / static_cast<double>(keys);
    fmt::print(
        "copy: {:.0f} keys/s, {:.1f} MB/s; RESTORE from memory {:.0f} keys/s ({:.0f} %); CPU per "
        "key: source {:.2f} µs, target {:.2f} µs, "
        "exodus {:.2f} µs\n",
        static_cast<double>(keys) / copy_s,
        static_cast<double>(movement->status().bytes_copied) / copy_s / 1e6, limit,
        100 * static_cast<double>(keys) / copy_s / limit,
        (cpu_seconds(source.pid()) - source_cpu) * per_key,
        (cpu_seconds(target.pid()) - target_cpu) * per_key,
        (cpu_seconds(getpid()) - own_cpu) * per_key);

    // Changes gather while the target stands still; then the stream is applied as fast as it goes.
    target.freeze(true);
    std::vector<std::vector<std::string>> writes;
    for (uint64_t i = 0; i < changes; ++i) {
        const std::string key = fmt::format("key:{:012}", (i * 7919) % keys);
        if (i % 2 == 0) {
            writes.push_back({"SET", key, std::string(64, 'y')});
        } else {
            writes.push_back({"APPEND", key, "z"});
        }
    }
    pipeline(writer.get(), writes);
    const auto end = movement->end_position();
    if (!end) throw std::runtime_error(end.error().message);
    target.freeze(false);
    const double apply_s = seconds_until([&] {
        const auto applied = movement->applied_through(*end);
        return applied && *applied;
    });
    fmt::print("apply: {:.0f} changes/s (SET and APPEND, half each)\n",
               static_cast<double>(changes) / apply_s);
    const auto compared = compare_servers(writer.get(), target.connect().get(), 1);
    fmt::print("{} keys, {} differences\n", compared.keys, compared.count);
    movement->stop();
    return compared.count == 0 ? 0 : 2;
} catch (const std::exception& error) {
    fmt::print(stderr, "bench: {}\n", error.what());
    return 1;
}
