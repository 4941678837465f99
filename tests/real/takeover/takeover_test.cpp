// Hazard: one interlay process replaces another while the applications work and the target is
// followed. No connection may be refused, no acknowledged write lost or doubled, and at no time may
// two processes move data (two writers on the target).
#include <atomic>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <thread>

#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

namespace {

/// Connects, asks, and goes away, as fast as it can; counts what did not work.
class Visitors {
  public:
    explicit Visitors(const Rig& rig)
        : thread_([this, port = rig.port()] {
              while (!stop_) visit(port);
          }) {}
    ~Visitors() {
        stop_ = true;
        if (thread_.joinable()) thread_.join();
    }
    [[nodiscard]] int served() const { return served_; }
    [[nodiscard]] int refused() const { return refused_; }

  private:
    void visit(int port) {
        try {
            const auto context = connect_to(port, milliseconds(20'000));
            // A connection that is accepted and then closed at its first boundary was not refused.
            send_command(context.get(), {"AUTH", Rig::kUser, Rig::kPassword});
            ++served_;
        } catch (const std::runtime_error&) {
            ++refused_;
        }
    }
    std::atomic<bool> stop_{false};
    std::atomic<int> served_{0};
    std::atomic<int> refused_{0};
    std::thread thread_;
};

}  // namespace

TEST_CASE("a new process takes the sockets under load; the old one drains at boundaries") {
    Rig rig;
    fill_server(own(rig.source()).get(), 2'000, 17);
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    LedgerOptions options = load_through(rig);
    options.reconnect = true;  // the old process ends connections at their boundaries
    Ledger ledger(options);
    ledger.start();
    wait_for_load(ledger, 500);
    rig.bring_to_ready();
    {
        const Visitors visitors(rig);
        REQUIRE(eventually(milliseconds(20'000), [&] { return visitors.served() > 5; }));
        for (int turn = 0; turn < 3; ++turn) {
            const pid_t before = rig.interlay_pid();
            CHECK(rig.take_over() == 0);
            CHECK(rig.interlay_pid() != before);
            wait_for_load(ledger, 300);
            // One reader of the stream: the predecessor's has gone before the successor's came.
            CHECK(eventually(milliseconds(20'000),
                             [&] { return rig.source().info("connected_slaves") == "1"; }));
        }
        const int served = visitors.served();
        CHECK(eventually(milliseconds(20'000), [&] { return visitors.served() > served + 5; }));
        CHECK(visitors.refused() == 0);
    }
    CHECK(ledger.violations() == std::vector<std::string>{});
    check_equal(rig, ledger);
    // What was taken over can be switched.
    rig.do_switch();
    CHECK(rig.authority() == "target");
    wait_for_load(ledger, 300);
    CHECK(rig.take_over() == 0);
    wait_for_load(ledger, 300);
    check_equal(rig, ledger);
    rig.do_rollback();
    check_ledger(ledger, rig.source());
    CHECK(rig.interlay_log().find("second writer") == std::string::npos);
}

TEST_CASE("a takeover is refused while a switch holds the writes, and changes nothing") {
    Rig rig;
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    LedgerOptions options = load_through(rig);
    options.reconnect = false;
    Ledger ledger(options);
    ledger.start();
    wait_for_load(ledger, 200);
    rig.bring_to_ready();
    rig.expect(0, {"approve", "switch", "--reason", "test"});
    const std::vector<std::string> words{"migrate",  "--switch", "--confirm",
                                         Rig::kName, "--reason", "test"};
    const RunResult crashed = rig.exodus(words, {{"EXODUS_CRASH_AT", "C2.after-effect"}});
    INFO(crashed.out, crashed.err);
    REQUIRE(crashed.code == 137);
    const RunResult refused = rig.exodus({"interlay", "--takeover"});
    INFO(refused.out, refused.err);
    CHECK(refused.code == 3);
    CHECK(refused.err.find("a switch is under way") != std::string::npos);
    REQUIRE(eventually(milliseconds(60'000), [&] { return rig.exodus(words).code == 0; }));
    wait_for_load(ledger, 200);
    CHECK(ledger.summary().connections_lost == 0);
    CHECK(ledger.violations() == std::vector<std::string>{});
    check_ledger(ledger, rig.target());
}
