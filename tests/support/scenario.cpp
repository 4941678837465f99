#include "tests/support/scenario.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

namespace exodus::test {

LedgerOptions load_through(const Rig& rig) {
    LedgerOptions options;
    options.port = rig.port();
    options.user = Rig::kUser;
    options.password = Rig::kPassword;
    return options;
}

ContextPtr own(RedisServer& server) {
    auto context = server.connect();
    send_command(context.get(), {"AUTH", Rig::kOwnUser, Rig::kOwnPassword});
    return context;
}

void wait_for_load(const Ledger& ledger, uint64_t more) {
    const uint64_t from = ledger.summary().acknowledged;
    const bool moved = eventually(milliseconds(30'000),
                                  [&] { return ledger.summary().acknowledged >= from + more; });
    INFO("acknowledged ", from, " then ", ledger.summary().acknowledged);
    REQUIRE(moved);
}

void require_no_violation(const Ledger& ledger) {
    const auto found = ledger.violations();
    for (const auto& text : found) MESSAGE(text);
    REQUIRE(found.empty());
}

void check_equal(Rig& rig, Ledger& ledger) {
    ledger.pause(true);
    const auto source = own(rig.source());
    const auto target = own(rig.target());
    ServersCompared last;
    eventually(
        milliseconds(30'000),
        [&] { return (last = compare_servers(source.get(), target.get())).count == 0; },
        milliseconds(200));
    for (const auto& text : last.differences) MESSAGE(text);
    CHECK(last.count == 0);
    ledger.pause(false);
}

void bring_to_analyzed(Rig& rig, Ledger& ledger) {
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    ledger.start();
    wait_for_load(ledger, 500);
    rig.expect(0, {"pretest", "--ack", "tap,redis.backlog,redis.spool-room", "--reason", "test"});
    rig.expect(0, {"analyze"});
}

nlohmann::json last_result(const std::string& out) {
    nlohmann::json last;
    for (std::size_t from = 0; from < out.size();) {
        const auto end = std::min(out.find('\n', from), out.size());
        auto line = nlohmann::json::parse(out.substr(from, end - from), nullptr, false);
        if (line.is_object() && line.value("type", "") == "result") last = std::move(line);
        from = end + 1;
    }
    INFO(out);
    REQUIRE(last.is_object());
    return last;
}

void check_ledger(Ledger& ledger, RedisServer& authority) {
    ledger.pause(false);
    ledger.stop();
    const LedgerSummary summary = ledger.summary();
    fmt::print(
        "{} writes acknowledged, {} refused, {} watches broken, {} unknown, {} connections lost; "
        "p99 {:.1f} ms, longest {:.1f} ms\n",
        summary.acknowledged, summary.refused, summary.watches_broken, summary.unknown,
        summary.connections_lost, static_cast<double>(summary.latency_us.percentile(0.99)) / 1e3,
        static_cast<double>(summary.latency_us.max()) / 1e3);
    for (const auto& [text, count] : summary.errors)
        fmt::print("error reply ({} times): {}\n", count, text);
    const auto found = ledger.check(authority.port(), Rig::kOwnUser, Rig::kOwnPassword);
    for (const auto& text : found) MESSAGE(text);
    CHECK(found.empty());
}

}  // namespace exodus::test
