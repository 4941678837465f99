#include "tests/bench/copy_memory.h"

#include <fmt/format.h>
#include <sstream>

#include "tests/bench/movement_run.h"
#include "tests/support/redis_server.h"

namespace exodus::test {

namespace {

constexpr std::string_view kTold = "memory, KiB: ";  ///< before its two numbers

/// Field of /proc/self/status, KiB.
uint64_t memory_kib(std::string_view field) {
    const std::string status = read_file("/proc/self/status");
    const auto at = status.find(field);
    if (at == std::string::npos) throw std::runtime_error(fmt::format("no {}", field));
    return std::stoull(status.substr(at + field.size()));
}

}  // namespace

void copy_and_tell_memory(int source_port, int target_port) {
    MovementRun copy("memory", source_port, target_port, {{"origin_p99_ratio", "0"}});
    const uint64_t before_kib = memory_kib("VmRSS:");
    (void)copy.start();
    wait_until([&] { return copy.copied(); });
    fmt::print("\n{}{} {}\n", kTold, before_kib, memory_kib("VmHWM:"));
}

void print_copy_memory(const std::vector<uint64_t>& sizes) {
    fmt::print("\n{:<28} {:>12} {:>12} {:>16}   MB of a process that only copies\n", "",
               "before it", "peak", "bytes per key");
    double less_mb = 0;
    uint64_t fewer = 0;
    for (const uint64_t keys : sizes) {
        RedisServer source({Engine::redis, {}, {}});
        RedisServer target({Engine::valkey, {}, {}});
        source.command({"DEBUG", "POPULATE", std::to_string(keys), "key", "64"});
        const auto child = run({"/proc/self/exe", kCopyOnly, std::to_string(source.port()),
                                std::to_string(target.port())},
                               milliseconds(300'000));
        const auto told = child.out.rfind(kTold);
        if (child.code != 0 || told == std::string::npos)
            throw std::runtime_error("a copy failed: " + child.out + child.err);
        std::istringstream numbers(child.out.substr(told + kTold.size()));
        double before_mb = 0;
        double peak_mb = 0;
        numbers >> before_mb >> peak_mb;
        before_mb *= 1024 / 1e6;
        peak_mb *= 1024 / 1e6;
        const std::string each = fewer == 0 || fewer == keys
                                     ? "-"
                                     : fmt::format("{:.1f}", (peak_mb - less_mb) * 1e6 /
                                                                 (static_cast<double>(keys) -
                                                                  static_cast<double>(fewer)));
        fmt::print("{:<28} {:>12.1f} {:>12.1f} {:>16}\n", fmt::format("copy of {} keys", keys),
                   before_mb, peak_mb, each);
        less_mb = peak_mb;
        fewer = keys;
    }
}

}  // namespace exodus::test
