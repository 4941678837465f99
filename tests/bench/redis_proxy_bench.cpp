// CPU per request of the interlay beside its peers, in one alternated run: direct, HAProxy (TCP),
// nutcracker, exodus forward, the same with 200 clients that follow its telemetry and a scrape
// every second (events alone; dashboards, which get every status), and exodus with every read
// mirrored to a target that follows. Prints a table of medians, what of the CPU is telemetry's, and
// what an idle client costs in memory; asserts nothing. Arguments: rounds (5; 0: memory only),
// requests at depth 1 (200000), part of the names of those that run.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <utility>

#include "base/limits.h"
#include "tests/support/raw_client.h"
#include "tests/support/redis_server.h"

using namespace exodus;
using namespace exodus::test;

namespace {

constexpr std::string_view kTelemetryThreads = "exodus-http\n";  ///< as /proc/PID/task/*/comm

struct Contestant {
    std::string name;
    int port = 0;
    pid_t proxy = 0;  ///< 0: none
};

struct Sample {
    double proxy_us = 0;
    double server_us = 0;
    double requests_per_s = 0;
    double telemetry_us = 0;  ///< of proxy_us
};

/// CPU time of a process, all its threads or those of one name, seconds. schedstat counts
/// nanoseconds where the fields of /proc/PID/stat count ticks of 10 ms.
double cpu_seconds(pid_t pid, std::string_view threads = {}) {
    if (pid == 0) return 0;
    double ns = 0;
    for (const auto& task :
         std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid))) {
        if (!threads.empty() && read_file((task.path() / "comm").string()) != threads) continue;
        std::istringstream fields(read_file((task.path() / "schedstat").string()));
        double running = 0;
        fields >> running;
        ns += running;
    }
    return ns / 1e9;
}

Sample measure(const Contestant& who, pid_t server, int depth, int value_bytes, int requests) {
    const double proxy = cpu_seconds(who.proxy);
    const double telemetry = cpu_seconds(who.proxy, kTelemetryThreads);
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
            (cpu_seconds(server) - back) * 1e6 / requests, requests / seconds,
            (cpu_seconds(who.proxy, kTelemetryThreads) - telemetry) * 1e6 / requests};
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values.empty() ? 0 : values[values.size() / 2];
}

bool installed(const char* program) {
    if (std::system(fmt::format("command -v {} >/dev/null 2>&1", program).c_str()) == 0)
        return true;
    fmt::print("{} is NOT INSTALLED: its row is missing (apt-get install {})\n", program, program);
    return false;
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

constexpr const char* kOwnUser = "exodus";
constexpr const char* kOwnPassword = "bench-secret-0123456789";
constexpr const char* kReason = "a bench of the interlay alone";
constexpr int kIdleClients = 2'000;
constexpr int kFollowers = 200;

/// One migration of the bench: its directory, its interlay, and how to run commands on it.
class Interlay {
  public:
    Interlay(RedisServer& source, RedisServer& target)
        : port_(free_port()), http_port_(free_port()) {
        write_file(directory_.file("own.secret"), kOwnPassword);
        write_file(directory_.file("exodus.toml"),
                   fmt::format("migration = \"bench\"\n"
                               "[source]\nfamily = \"redis\"\n"
                               "uri = \"redis://{0}@127.0.0.1:{1}/0\"\npassword_file = \"{4}\"\n"
                               "[target]\nfamily = \"redis\"\n"
                               "uri = \"valkey://{0}@127.0.0.1:{2}/0\"\npassword_file = \"{4}\"\n"
                               "[interlay]\nlisten = [\"127.0.0.1:{3}\"]\nthreads = 1\n"
                               "http = \"127.0.0.1:{5}\"\n"
                               "[gates]\nanalyze_duration = \"1s\"\nanalyze_requests_min = 10\n"
                               "ready_lag_for = \"500ms\"\n",
                               kOwnUser, source.port(), target.port(), port_,
                               directory_.file("own.secret"), http_port_));
        exodus({"init", "redis"});
        process_ = Process({binary(), "--no-input", "interlay"},
                           {.environment = {},
                            .directory = directory_.path(),
                            .output = directory_.file("interlay.log"),
                            .errors = {},
                            .input = {}});
        wait_for_port(port_, process_);
    }

    /// Until there is something to be seen.
    void analyze() {
        exodus({"pretest", "--ack", "tap,redis.backlog,redis.spool-room", "--reason", kReason});
        Process load({"redis-benchmark", "-p", std::to_string(port_), "-n", "100000000", "-t",
                      "get", "-c", "2", "-q"});
        exodus({"analyze"});
        load.kill();
    }

    /// Until the target follows; then every read is mirrored.
    void mirror_all() {
        analyze();
        exodus({"migrate", "--until", "ready", "--skip-gate", "compare", "--skip-gate", "test",
                "--reason", kReason});
        exodus({"ctl", "mirror=100"});
    }

    std::string exodus(const std::vector<std::string>& words) {
        std::vector<std::string> line{binary(), "--no-input"};
        line.insert(line.end(), words.begin(), words.end());
        ProcessOptions options;
        options.directory = directory_.path();
        const RunResult result = run(line, milliseconds(120'000), options);
        if (result.code != 0) throw std::runtime_error("exodus: " + result.out + result.err);
        return result.out;
    }

    [[nodiscard]] int http_port() const { return http_port_; }
    [[nodiscard]] Contestant contestant(std::string name) const {
        return {std::move(name), port_, process_.pid()};
    }

  private:
    static std::string binary() {
        const char* named = std::getenv("EXODUS_BINARY");
        return named != nullptr ? named : EXODUS_BINARY;
    }

    TempDir directory_;
    int port_;
    int http_port_;
    Process process_;
};

/// Clients that follow `events`, and one that scrapes /metrics every second.
class Audience {
  public:
    Audience(int port, int followers, const std::string& events) {
        const std::string tail = " HTTP/1.1\r\nHost: localhost\r\n\r\n";
        for (int i = 0; i < followers; ++i) {
            auto client = std::make_unique<RawClient>(port);
            client->send("GET " + events + tail);
            followers_.push_back(std::move(client));
        }
        reader_ = std::jthread([this, port, tail](const std::stop_token& stop) {
            while (!stop.stop_requested()) {
                RawClient scrape(port);
                scrape.send("GET /metrics" + tail);
                static_cast<void>(scrape.read_until("exodus_telemetry_clients_dropped_total"));
                const Deadline second = Deadline::in(milliseconds(1'000));
                while (!second.passed() && !stop.stop_requested()) {
                    for (const auto& client : followers_) client->discard();
                    std::this_thread::sleep_for(milliseconds(500));
                }
            }
        });
    }

  private:
    std::vector<std::unique_ptr<RawClient>> followers_;
    std::jthread reader_;
};

/// What came of the mirrored reads: a row of numbers from `ctl traffic`.
std::string mirrored(Interlay& interlay) {
    const std::string out = interlay.exodus({"--json", "ctl", "traffic"});
    const auto line = nlohmann::json::parse(out.substr(0, out.find('\n')));
    const auto& stats = line.at("replies").at(0).at("reply");
    const auto& get = stats.at("commands").at("GET");
    return fmt::format(
        "mirrored GETs: {} asked, {} equal, {} candidates, {} not compared; {} dropped",
        get.value("mirrored", 0), get.value("equal", 0), get.value("candidates", 0),
        get.value("not_comparable", 0), stats.value("shadow_dropped", 0));
}

double resident_kib(pid_t pid) {
    std::istringstream status(read_file(fmt::format("/proc/{}/status", pid)));
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmRSS:")) return std::stod(line.substr(6));
    }
    throw std::runtime_error("no VmRSS");
}

/// Memory of the interlay per client that has asked once and is silent now, when the buffers that
/// it used were given back.
void print_idle(const Contestant& interlay) {
    const std::string plain = request({"GET", "none"});
    const std::string logged_in = request({"HELLO", "3", "AUTH", kOwnUser, kOwnPassword}) + plain;
    std::vector<std::unique_ptr<RawClient>> clients;
    const auto come = [&](const std::string& bytes, const char* answer, int count) {
        for (int i = 0; i < count; ++i) {
            clients.push_back(std::make_unique<RawClient>(interlay.port));
            clients.back()->send(bytes);
            if (!clients.back()->read_until(answer).ends_with(answer))
                throw std::runtime_error("an idle client got no answer");
        }
        double last = 0;
        eventually(
            milliseconds(60'000),
            [&] {
                const double now = resident_kib(interlay.proxy);
                return std::exchange(last, now) == now;
            },
            milliseconds(2 * limits::kBufferTrim_ms));
        return last;
    };
    const double before = come(logged_in, "_\r\n", 10);
    const double some = come(plain, "$-1\r\n", kIdleClients);
    const double all = come(logged_in, "_\r\n", kIdleClients);
    fmt::print("memory per idle client of {}: plain {:.1f} KiB, logged in with RESP3 {:.1f} KiB\n",
               kIdleClients, (some - before) / kIdleClients, (all - some) / kIdleClients);
}

}  // namespace

int main(int argc, char** argv) try {
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 5;
    const int requests = argc > 2 ? std::atoi(argv[2]) : 200'000;
    const std::string only = argc > 3 ? argv[3] : "";
    const TempDir directory;
    ServerOptions options;
    options.acl = {"user default on nopass ~* &* +@all",
                   fmt::format("user {} on >{} ~* &* +@all", kOwnUser, kOwnPassword)};
    RedisServer source(options);
    options.engine = Engine::valkey;
    RedisServer target(options);
    const auto set_key = [&](int bytes) {
        source.command({"SET", "key:__rand_int__", std::string(static_cast<size_t>(bytes), 'x')});
    };
    set_key(64);
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
    Interlay forward(source, target);
    contestants.push_back(forward.contestant("exodus forward"));
    print_idle(contestants.back());
    if (rounds == 0) return 0;
    Interlay watched(source, target);
    contestants.push_back(watched.contestant("exodus forward, watched"));
    const Audience audience(watched.http_port(), kFollowers, "/events");
    Interlay shown(source, target);
    shown.analyze();
    contestants.push_back(shown.contestant("exodus forward, shown"));
    const Audience dashboards(shown.http_port(), kFollowers, "/events?status=1");
    Interlay mirror(source, target);
    mirror.mirror_all();
    contestants.push_back(mirror.contestant("exodus forward + mirror"));

    std::erase_if(contestants,
                  [&](const Contestant& who) { return who.name.find(only) == std::string::npos; });
    fmt::print(
        "GET, 50 clients, one proxy thread; CPU in µs per request, medians of {} alternated "
        "rounds\n",
        rounds);
    for (const int value_bytes : {64, 1024}) {
        set_key(value_bytes);
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
            std::string telemetry;
            for (const int depth : {1, 16, 64}) {
                const auto column = [&](double Sample::*field) {
                    std::vector<double> values;
                    for (const Sample& sample : samples[who.name][depth])
                        values.push_back(sample.*field);
                    return median(values);
                };
                const double proxy_us = column(&Sample::proxy_us);
                const double telemetry_us = column(&Sample::telemetry_us);
                fmt::print("{:>8.2f} [{:>5.2f}] {:>6.0f}k/s", proxy_us, column(&Sample::server_us),
                           column(&Sample::requests_per_s) / 1000);
                if (telemetry_us > 0)
                    telemetry += fmt::format("{:>8.3f} ({:.1f} %){:>10}", telemetry_us,
                                             telemetry_us / proxy_us * 100, "");
            }
            fmt::print("\n");
            if (!telemetry.empty()) fmt::print("{:>24}{}\n", "of it telemetry", telemetry);
        }
    }
    fmt::print("\n{}\n", mirrored(mirror));
    return 0;
} catch (const std::exception& error) {
    fmt::print(stderr, "bench: {}\n", error.what());
    return 1;
}
