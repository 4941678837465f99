// CPU per request of the interlay beside its peers, in one alternated run: direct, HAProxy (TCP),
// nutcracker, exodus forward. Prints a table of medians; asserts nothing.
#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <unistd.h>

#include "tests/support/redis_server.h"

using namespace exodus;
using namespace exodus::test;

namespace {

struct Contestant {
    std::string name;
    int port = 0;
    pid_t proxy = 0;  ///< 0: none
};

struct Sample {
    double proxy_us = 0;
    double server_us = 0;
    double requests_per_s = 0;
};

/// User + system CPU of a process with all its threads, seconds.
double cpu_seconds(pid_t pid) {
    if (pid == 0) return 0;
    const std::string stat = read_file(fmt::format("/proc/{}/stat", pid));
    std::istringstream fields(stat.substr(stat.rfind(')') + 2));
    std::string skipped;
    for (int i = 0; i < 11; ++i) fields >> skipped;
    double user = 0;
    double system = 0;
    fields >> user >> system;
    return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

Sample measure(const Contestant& who, pid_t server, int depth, int value_bytes, int requests) {
    const double proxy = cpu_seconds(who.proxy);
    const double back = cpu_seconds(server);
    const int64_t from = steady_us();
    const RunResult result =
        run({"redis-benchmark", "-h", "127.0.0.1", "-p", std::to_string(who.port), "-c", "50", "-n",
             std::to_string(requests), "-P", std::to_string(depth), "-t", "get", "-d",
             std::to_string(value_bytes), "-q"},
            milliseconds(300'000));
    if (result.code != 0) throw std::runtime_error(who.name + ": " + result.out + result.err);
    const double seconds = static_cast<double>(steady_us() - from) / 1e6;
    return {(cpu_seconds(who.proxy) - proxy) * 1e6 / requests,
            (cpu_seconds(server) - back) * 1e6 / requests, requests / seconds};
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values.empty() ? 0 : values[values.size() / 2];
}

bool installed(const char* program) {
    return std::system(fmt::format("command -v {} >/dev/null 2>&1", program).c_str()) == 0;
}

void wait_for_port(int port, Process& process) {
    const bool up = eventually(milliseconds(15'000), [&] {
        try {
            return !process.running() || connect_to(port, milliseconds(300)) != nullptr;
        } catch (const std::runtime_error&) {
            return false;
        }
    });
    if (!up || !process.running()) throw std::runtime_error("a peer did not start");
}

}  // namespace

int main(int argc, char** argv) try {
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 5;
    const int requests = argc > 2 ? std::atoi(argv[2]) : 200'000;
    const TempDir directory;
    RedisServer source;
    RedisServer target({Engine::valkey, {}, {}});
    for (RedisServer* server : {&source, &target}) {
        server->command({"SET", "key:__rand_int__", std::string(64, 'x')});
    }
    std::vector<Contestant> contestants{{"direct", source.port()}};
    Process haproxy;
    if (installed("haproxy")) {
        const int port = free_port();
        write_file(directory.file("haproxy.cfg"),
                   fmt::format("global\n nbthread 1\ndefaults\n mode tcp\n timeout connect 5s\n "
                               "timeout client 1h\n timeout server 1h\n"
                               "listen redis\n bind 127.0.0.1:{}\n server s {}\n",
                               port, source.address()));
        haproxy = Process({"haproxy", "-db", "-f", directory.file("haproxy.cfg")});
        wait_for_port(port, haproxy);
        contestants.push_back({"haproxy tcp", port, haproxy.pid()});
    }
    Process nutcracker;
    if (installed("nutcracker")) {
        const int port = free_port();
        write_file(directory.file("nutcracker.yml"),
                   fmt::format("pool:\n  listen: 127.0.0.1:{}\n  redis: true\n  hash: fnv1a_64\n  "
                               "distribution: ketama\n  servers:\n   - {}:1\n",
                               port, source.address()));
        nutcracker = Process({"nutcracker", "-c", directory.file("nutcracker.yml"), "-s",
                              std::to_string(free_port()), "-m", "16384"});
        wait_for_port(port, nutcracker);
        contestants.push_back({"nutcracker", port, nutcracker.pid()});
    }
    const int port = free_port();
    write_file(directory.file("exodus.toml"),
               fmt::format("migration = \"bench\"\n[source]\nfamily = \"redis\"\nuri = "
                           "\"redis://127.0.0.1:{}/0\"\n[target]\nfamily = \"redis\"\n"
                           "uri = \"valkey://127.0.0.1:{}/0\"\n[interlay]\nlisten = "
                           "[\"127.0.0.1:{}\"]\nthreads = 1\n",
                           source.port(), target.port(), port));
    const std::string binary =
        std::getenv("EXODUS_BINARY") != nullptr ? std::getenv("EXODUS_BINARY") : EXODUS_BINARY;
    const auto exodus = [&](std::vector<std::string> words) {
        std::vector<std::string> line{binary, "--no-input"};
        line.insert(line.end(), words.begin(), words.end());
        ProcessOptions options;
        options.directory = directory.path();
        const RunResult result = run(line, milliseconds(30'000), options);
        if (result.code != 0) throw std::runtime_error("exodus: " + result.out + result.err);
    };
    exodus({"init", "redis"});
    Process interlay({binary, "--no-input", "interlay"}, {.environment = {},
                                                          .directory = directory.path(),
                                                          .output = directory.file("log"),
                                                          .errors = {},
                                                          .input = {}});
    wait_for_port(port, interlay);
    contestants.push_back({"exodus forward", port, interlay.pid()});

    fmt::print(
        "GET, 50 clients, one proxy thread; CPU in µs per request, medians of {} alternated "
        "rounds\n",
        rounds);
    for (const int value_bytes : {64, 1024}) {
        for (RedisServer* server : {&source, &target})
            server->command(
                {"SET", "key:__rand_int__", std::string(static_cast<size_t>(value_bytes), 'x')});
        fmt::print("\n{:>5}-byte values {:>24} {:>24} {:>24}\n", value_bytes, "depth 1", "depth 16",
                   "depth 64");
        std::map<std::string, std::map<int, std::vector<Sample>>> samples;
        for (int round = 0; round < rounds; ++round) {
            for (const int depth : {1, 16, 64}) {
                for (const Contestant& who : contestants) {
                    samples[who.name][depth].push_back(
                        measure(who, source.pid(), depth, value_bytes,
                                depth == 1 ? requests : requests * std::min(depth, 10)));
                }
            }
        }
        for (const Contestant& who : contestants) {
            fmt::print("{:>24}", who.name);
            for (const int depth : {1, 16, 64}) {
                const auto column = [&](double Sample::*field) {
                    std::vector<double> values;
                    for (const Sample& sample : samples[who.name][depth])
                        values.push_back(sample.*field);
                    return median(values);
                };
                fmt::print("{:>8.2f} [{:>5.2f}] {:>6.0f}k/s", column(&Sample::proxy_us),
                           column(&Sample::server_us), column(&Sample::requests_per_s) / 1000);
            }
            fmt::print("\n");
        }
    }
    return 0;
} catch (const std::exception& error) {
    fmt::print(stderr, "bench: {}\n", error.what());
    return 1;
}
