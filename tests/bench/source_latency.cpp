#include "tests/bench/source_latency.h"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <map>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/histogram.h"
#include "tests/bench/movement_run.h"

namespace exodus::test {

namespace {

constexpr int64_t kProbeEvery_us = 2'000;  ///< 500 requests a second
constexpr int64_t kIdle_us = 2'000'000;
constexpr int64_t kCopy_us_max = 5'000'000;  ///< of a copy that takes longer the rest is not seen

/// Half GETs, half SETs, one in flight. A request that became due while the one before was not yet
/// answered counts from when it was due: who sends at a steady rate waits for both.
Histogram probe(redisContext* client, int64_t span_us, const std::function<bool()>& over) {
    const std::string value(64, 'p');
    Histogram latency_us;
    const int64_t start_us = steady_us();
    int64_t answered_us = start_us;
    for (int64_t n = 1; n * kProbeEvery_us < span_us && !over(); ++n) {
        const int64_t due_us = start_us + n * kProbeEvery_us;
        if (const int64_t left_us = due_us - steady_us(); left_us > 0)
            usleep(static_cast<useconds_t>(left_us));
        const int64_t sent_us = answered_us > due_us ? due_us : steady_us();
        const std::string key = fmt::format("probe:{}", n / 2 % 64);
        const auto reply = n % 2 == 0 ? send_command(client, {"SET", key, value})
                                      : send_command(client, {"GET", key});
        if (reply->type == REDIS_REPLY_ERROR) throw std::runtime_error(to_text(reply.get()));
        answered_us = steady_us();
        latency_us.record(static_cast<uint64_t>(answered_us - sent_us));
    }
    return latency_us;
}

struct Round {
    double idle_p50 = 0;
    double idle_p99 = 0;
    double copy_p50 = 0;
    double copy_p99 = 0;
    double keys_per_s = 0;
};

double median(std::vector<Round> rounds, double Round::*field) {
    std::sort(rounds.begin(), rounds.end(),
              [field](const Round& a, const Round& b) { return a.*field < b.*field; });
    return rounds[rounds.size() / 2].*field;
}

struct Setting {
    const char* name;
    std::map<std::string, std::string> throttle;
    bool beside = false;  ///< probes a server that is not copied: what the machine does to it
};

Round measure(const Setting& setting, int round, RedisServer& source, RedisServer& target,
              RedisServer& beside) {
    const auto client = (setting.beside ? beside : source).connect();
    const auto idle = probe(client.get(), kIdle_us, [] { return false; });
    target.command({"FLUSHALL"});
    MovementRun copy(fmt::format("latency-{}-{}", setting.name, round), source.port(),
                     target.port(), setting.throttle);
    const uint64_t before = copy.start();
    const int64_t began_us = steady_us();
    const auto busy = probe(client.get(), kCopy_us_max, [&] { return copy.copied(); });
    const auto seconds = static_cast<double>(steady_us() - began_us) / 1e6;
    const auto of = [](const Histogram& histogram, double share) {
        return static_cast<double>(histogram.percentile(share));
    };
    return {of(idle, 0.5), of(idle, 0.99), of(busy, 0.5), of(busy, 0.99),
            static_cast<double>(copy->status().items_done - before) / seconds};
}

}  // namespace

void print_source_latency(RedisServer& source, RedisServer& target, uint64_t keys, int rounds) {
    // 64-byte keys: 4 MiB are some 30,000 of them.
    const std::vector<Setting> settings = {
        {"unthrottled", {{"origin_p99_ratio", "0"}}},
        {"origin_p99_ratio = 1.5", {{"origin_p99_ratio", "1.5"}}},
        {"the same, at another server", {{"origin_p99_ratio", "1.5"}}, true},
        {"bytes_per_s = 4MiB", {{"origin_p99_ratio", "0"}, {"bytes_per_s", "4MiB"}}},
        {"the same, at another server", {{"origin_p99_ratio", "0"}, {"bytes_per_s", "4MiB"}}, true},
    };
    RedisServer beside({.engine = Engine::redis, .config = {}, .acl = {}});
    prctl(PR_SET_TIMERSLACK, 1'000UL, 0UL, 0UL, 0UL);  // ns: the probe is sent when it is due
    std::vector<std::vector<Round>> measured(settings.size());
    for (int round = 0; round < rounds; ++round) {
        for (std::size_t i = 0; i < settings.size(); ++i)
            measured[i].push_back(measure(settings[i], round, source, target, beside));
    }
    fmt::print(
        "\n{:<28} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8}   µs of GET and SET at the source, {} "
        "a second; copy of {} keys\n",
        "", "keys/s", "idle p50", "p99", "copy p50", "p99", "p99 x", 1'000'000 / kProbeEvery_us,
        keys);
    for (std::size_t i = 0; i < settings.size(); ++i) {
        const auto of = [&](double Round::*field) { return median(measured[i], field); };
        fmt::print("{:<28} {:>9.0f} {:>8.0f} {:>8.0f} {:>8.0f} {:>8.0f} {:>8.1f}\n",
                   settings[i].name, of(&Round::keys_per_s), of(&Round::idle_p50),
                   of(&Round::idle_p99), of(&Round::copy_p50), of(&Round::copy_p99),
                   of(&Round::copy_p99) / of(&Round::idle_p99));
    }
}

}  // namespace exodus::test
