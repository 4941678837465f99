// Copy and apply rates of the Redis data movement beside the target's own limits (RESTORE, and the
// same writes, pipelined from memory), in alternated rounds of one run: units/s, MB/s and CPU of
// both servers and of this process. Then what a client of the source notices of the copy, and the
// memory of a process that only copies. Asserts nothing. Arguments: keys (300000), changes
// (500000), rounds (5), numbers of keys for the memory (100000 400000 1200000 2400000; 0: none).
#include <algorithm>
#include <array>
#include <cstdlib>
#include <fmt/format.h>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <unistd.h>

#include "tests/bench/copy_memory.h"
#include "tests/bench/movement_run.h"
#include "tests/bench/source_latency.h"
#include "tests/support/compare_servers.h"
#include "tests/support/ledger.h"

using namespace exodus;
using namespace exodus::test;

namespace {

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

using Requests = std::vector<std::vector<std::string>>;

/// RESTORE commands of every key, in memory.
Requests payloads_of(RedisServer& source, uint64_t keys) {
    const auto from = source.connect();
    Requests requests;
    for (uint64_t i = 0; i < keys;) {
        const uint64_t first = i;
        for (; i < keys && i < first + 500; ++i)
            redisAppendCommand(from.get(), "DUMP key:%012llu", static_cast<unsigned long long>(i));
        for (uint64_t k = first; k < i; ++k) {
            void* raw = nullptr;
            if (redisGetReply(from.get(), &raw) != REDIS_OK) throw std::runtime_error("lost");
            const ReplyPtr dump(static_cast<redisReply*>(raw), freeReplyObject);
            requests.push_back({"RESTORE", fmt::format("key:{:012}", k), "0",
                                std::string(dump->str, dump->len), "REPLACE"});
        }
    }
    return requests;
}

/// One way of doing the same work: per second, and CPU µs of each process per unit of it.
struct Measured {
    double per_s = 0;
    double source_us = 0;
    double target_us = 0;
    double own_us = 0;  ///< this process: exodus, or the client that pipelines
};

class Meter {
  public:
    Meter(const RedisServer& source, const RedisServer& target)
        : source_(source), target_(target), began_(read()), start_us_(steady_us()) {}
    [[nodiscard]] Measured per(uint64_t units) const {
        const double seconds = static_cast<double>(steady_us() - start_us_) / 1e6;
        const auto now = read();
        const double each = 1e6 / static_cast<double>(units);
        return {static_cast<double>(units) / seconds, (now[0] - began_[0]) * each,
                (now[1] - began_[1]) * each, (now[2] - began_[2]) * each};
    }

  private:
    [[nodiscard]] std::array<double, 3> read() const {
        return {cpu_seconds(source_.pid()), cpu_seconds(target_.pid()), cpu_seconds(getpid())};
    }
    const RedisServer& source_;
    const RedisServer& target_;
    std::array<double, 3> began_;
    int64_t start_us_;
};

/// Medians of every number on its own.
Measured median(std::vector<Measured> runs) {
    const auto middle = [&](double Measured::*field) {
        std::sort(runs.begin(), runs.end(),
                  [field](const Measured& a, const Measured& b) { return a.*field < b.*field; });
        return runs[runs.size() / 2].*field;
    };
    return {middle(&Measured::per_s), middle(&Measured::source_us), middle(&Measured::target_us),
            middle(&Measured::own_us)};
}

void print_row(const char* name, const std::vector<Measured>& runs, double bytes_each) {
    const Measured m = median(runs);
    fmt::print("{:<28} {:>9.0f} {:>8.1f} {:>8.2f} {:>8.2f} {:>8.2f}\n", name, m.per_s,
               m.per_s * bytes_each / 1e6, m.source_us, m.target_us, m.own_us);
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc == 4 && std::string_view(argv[1]) == kCopyOnly) {
        copy_and_tell_memory(std::atoi(argv[2]), std::atoi(argv[3]));
        return 0;
    }
    const uint64_t keys = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 300'000;
    const uint64_t changes = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 500'000;
    const int rounds = argc > 3 ? std::atoi(argv[3]) : 5;
    std::vector<uint64_t> sizes;
    for (int i = 4; i < argc; ++i) sizes.push_back(std::strtoull(argv[i], nullptr, 10));
    if (sizes.empty()) sizes = {100'000, 400'000, 1'200'000, 2'400'000};
    std::erase(sizes, 0);
    RedisServer source({Engine::redis, {"repl-backlog-size 512mb"}, {}});
    RedisServer target({Engine::valkey, {}, {}});
    const auto writer = source.connect();
    const auto reader = target.connect();
    Requests fill;
    for (uint64_t i = 0; i < keys; ++i)
        fill.push_back({"SET", fmt::format("key:{:012}", i), std::string(64, 'x')});
    pipeline(writer.get(), fill);
    const Requests restores = payloads_of(source, keys);
    Requests writes;
    for (uint64_t i = 0; i < changes; ++i) {
        const std::string key = fmt::format("key:{:012}", (i * 7919) % keys);
        if (i % 2 == 0)
            writes.push_back({"SET", key, std::string(64, 'y')});
        else
            writes.push_back({"APPEND", key, "z"});
    }
    std::vector<Measured> restored;
    std::vector<Measured> copied;
    std::vector<Measured> written;
    std::vector<Measured> applied;
    double bytes_each = 0;
    uint64_t differences = 0;
    for (int round = 0; round < rounds; ++round) {
        send_command(reader.get(), {"FLUSHALL"});
        Meter limit(source, target);
        pipeline(reader.get(), restores);
        restored.push_back(limit.per(keys));
        send_command(reader.get(), {"FLUSHALL"});

        // The data path is measured, not the consideration for the source.
        MovementRun movement(fmt::format("bench{}", round), source.port(), target.port(),
                             {{"origin_p99_ratio", "0"}});
        const uint64_t before = movement.start();
        Meter copy(source, target);
        wait_until([&] { return movement.copied(); });
        copied.push_back(copy.per(keys - before));
        bytes_each =
            static_cast<double>(movement->status().bytes_copied) / static_cast<double>(keys);

        // Changes gather while the target stands still; then the stream is applied as fast as it
        // goes.
        target.freeze(true);
        pipeline(writer.get(), writes);
        const auto end = movement->end_position();
        if (!end) throw std::runtime_error(end.error().message);
        target.freeze(false);
        Meter apply(source, target);
        wait_until([&] {
            const auto through = movement->applied_through(*end);
            return through && *through;
        });
        applied.push_back(apply.per(changes));
        differences += compare_servers(writer.get(), reader.get(), 1).count;
        movement->stop();
        Meter direct(source, target);
        pipeline(reader.get(), writes);
        written.push_back(direct.per(changes));
    }
    fmt::print("{:<28} {:>9} {:>8} {:>8} {:>8} {:>8}   medians of {} rounds, CPU in µs per unit\n",
               "", "units/s", "MB/s", "source", "target", "self", rounds);
    print_row("RESTORE from memory", restored, bytes_each);
    print_row("copy", copied, bytes_each);
    print_row("the same writes, pipelined", written, 0);
    print_row("apply", applied, 0);
    fmt::print("copy {:.0f} % of RESTORE, apply {:.0f} % of the writes; {} differences\n",
               100 * median(copied).per_s / median(restored).per_s,
               100 * median(applied).per_s / median(written).per_s, differences);
    print_source_latency(source, target, keys, rounds);
    if (!sizes.empty()) print_copy_memory(sizes);
    return differences == 0 ? 0 : 2;
} catch (const std::exception& error) {
    fmt::print(stderr, "bench: {}\n", error.what());
    return 1;
}
