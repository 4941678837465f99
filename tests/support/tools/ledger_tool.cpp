// exodus-ledger: the ledger for scripts. `fill` makes a data set, `run` loads until SIGTERM
// (SIGUSR1 pauses, SIGUSR2 resumes) and then checks every acknowledged write on the authority,
// `equal` waits until two servers hold the same data. Exit code 0: exact; 2: something does not
// fit.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <fmt/format.h>
#include <thread>

#include "tests/support/compare_servers.h"
#include "tests/support/ledger.h"

using namespace exodus;
using namespace exodus::test;

namespace {

volatile std::sig_atomic_t stop_requested = 0;
volatile std::sig_atomic_t pause_requested = 0;
void request_stop(int) { stop_requested = 1; }
void request_pause(int number) { pause_requested = number == SIGUSR1 ? 1 : 0; }

std::string first_line(const std::string& path) {
    const std::string text = read_file(path);
    return text.substr(0, text.find('\n'));
}

ContextPtr logged_in(int port, const std::string& user, const std::string& password) {
    auto context = connect_to(port, milliseconds(20'000));
    if (!user.empty()) {
        const std::string answer =
            to_text(send_command(context.get(), {"AUTH", user, password}).get());
        if (answer != "OK") throw std::runtime_error(fmt::format("port {}: AUTH {}", port, answer));
    }
    return context;
}

int run_load(Ledger& ledger, const std::string& authority_file, const std::string& user,
             const std::string& password) {
    std::signal(SIGTERM, request_stop);
    std::signal(SIGINT, request_stop);
    std::signal(SIGUSR1, request_pause);
    std::signal(SIGUSR2, request_pause);
    ledger.start();
    int paused = 0;
    while (stop_requested == 0) {
        if (const int wanted = pause_requested; wanted != paused) {
            ledger.pause(wanted != 0);
            paused = wanted;
            fmt::print("load {}\n", paused != 0 ? "paused" : "resumed");
        }
        std::this_thread::sleep_for(milliseconds(20));
    }
    ledger.stop();
    const LedgerSummary summary = ledger.summary();
    fmt::print(
        "load: {} writes acknowledged, {} reads, {} refused and retryable, {} unknown, {} "
        "connections lost\n",
        summary.acknowledged, summary.reads, summary.refused, summary.unknown,
        summary.connections_lost);
    fmt::print("latency: p50 {:.2f} ms, p99 {:.2f} ms, p99.9 {:.2f} ms, longest {:.1f} ms\n",
               static_cast<double>(summary.latency_us.percentile(0.5)) / 1e3,
               static_cast<double>(summary.latency_us.percentile(0.99)) / 1e3,
               static_cast<double>(summary.latency_us.percentile(0.999)) / 1e3,
               static_cast<double>(summary.latency_us.max()) / 1e3);
    for (const auto& [text, count] : summary.errors)
        fmt::print("error reply ({} times): {}\n", count, text);
    const auto found = ledger.check(std::stoi(first_line(authority_file)), user, password);
    for (const auto& text : found) fmt::print("LEDGER: {}\n", text);
    if (!found.empty()) {
        fmt::print("ledger: NOT exact, {} findings\n", found.size());
        return 2;
    }
    fmt::print("ledger: every acknowledged write is present exactly once\n");
    return 0;
}

int wait_equal(int left, int right, int64_t timeout_ms, const std::string& user,
               const std::string& password) {
    const auto a = logged_in(left, user, password);
    const auto b = logged_in(right, user, password);
    ServersCompared last;
    const bool equal = eventually(
        milliseconds(timeout_ms),
        [&] { return (last = compare_servers(a.get(), b.get())).count == 0; }, milliseconds(200));
    for (const auto& text : last.differences) fmt::print("differs: {}\n", text);
    fmt::print("{} keys, {} differences\n", last.keys, last.count);
    return equal ? 0 : 2;
}

}  // namespace

int main(int argc, char** argv) try {
    CLI::App app{"Loads a Redis-compatible endpoint and accounts for every acknowledged write"};
    app.require_subcommand(1);
    LedgerOptions options;
    std::string password_file;
    std::string authority_file;
    uint64_t keys = 100'000;
    uint64_t big_fields = 100'000;
    int right = 0;
    int64_t timeout_ms = 20'000;
    const auto common = [&](CLI::App* command) {
        command->add_option("--port", options.port, "loopback port")->required();
        command->add_option("--user", options.user);
        command->add_option("--password-file", password_file);
    };
    auto* fill = app.add_subcommand("fill", "make a realistic data set");
    common(fill);
    fill->add_option("--keys", keys);
    fill->add_option("--big-fields", big_fields, "of the one big hash; 150000 are above 8 MiB");
    auto* load = app.add_subcommand("run", "load until SIGTERM, then check");
    common(load);
    load->add_option("--authority-file", authority_file,
                     "file with the port of the authority, read at the end")
        ->required();
    load->add_option("--writers", options.writers);
    load->add_option("--pause-us", options.pause_us);
    auto* equal = app.add_subcommand("equal", "wait until two servers at rest are equal");
    common(equal);
    equal->add_option("--with", right, "the other server's port")->required();
    equal->add_option("--timeout-ms", timeout_ms);
    CLI11_PARSE(app, argc, argv);
    if (!password_file.empty()) options.password = first_line(password_file);
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    if (fill->parsed()) {
        const auto context = logged_in(options.port, options.user, options.password);
        fill_server(context.get(), keys, options.seed, big_fields);
        return 0;
    }
    if (equal->parsed())
        return wait_equal(options.port, right, timeout_ms, options.user, options.password);
    Ledger ledger(options);
    return run_load(ledger, authority_file, options.user, options.password);
} catch (const std::exception& error) {
    fmt::print(stderr, "exodus-ledger: {}\n", error.what());
    return 1;
}
