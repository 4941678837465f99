// Hazard: an endpoint that is almost right. Each case must end in pretest with a finding that names
// the side and what to do, before anything was changed, and without a secret in any output.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

namespace {

/// Runs pretest, which must end with this code (2: a check fails; 77: no endpoint lets exodus in),
/// and returns all it printed.
std::string failing_pretest(Rig& rig, int code = 2) {
    rig.expect(0, {"init", "redis"});
    const RunResult result = rig.exodus({"pretest", "--ack", "tap", "--reason", "test"});
    INFO(result.out, result.err);
    CHECK(result.code == code);
    const std::string all = result.out + result.err;
    CHECK(all.find(Rig::kOwnPassword) == std::string::npos);
    return all;
}

void check_has(const std::string& text, const std::string& part) {
    INFO(text);
    CHECK(text.find(part) != std::string::npos);
}

}  // namespace

TEST_CASE("a wrong password") {
    Rig rig;
    write_file(rig.file("own.secret"), "not the password\n");
    const std::string text = failing_pretest(rig, 77);
    check_has(text, "source");
    check_has(text, "WRONGPASS");
}

TEST_CASE("a source user without the right to PSYNC") {
    Rig rig;
    rig.source().command({"ACL", "SETUSER", Rig::kOwnUser, "-psync", "-sync"});
    rig.source().login("", "");
    const std::string text = failing_pretest(rig);
    check_has(text, "redis.psync");
    check_has(text, "ACL SETUSER exodus +psync");
}

TEST_CASE("a source that is not there") {
    Rig rig;
    rig.source().kill();
    const std::string text = failing_pretest(rig);
    check_has(text, rig.source().address());
}

TEST_CASE("a target that is not empty") {
    Rig rig;
    rig.target().command({"SET", "somebody", "else"});
    check_has(failing_pretest(rig), "redis.target-empty");
}

TEST_CASE("a target that is a replica") {
    Rig rig;
    rig.target().command({"REPLICAOF", "127.0.0.1", std::to_string(rig.source().port())});
    check_has(failing_pretest(rig), "role");
}

TEST_CASE("applications and exodus share a user: no fence is possible") {
    Rig rig;
    // Somebody who is not exodus is connected as exodus' user.
    const auto stray = rig.source().connect();
    send_command(stray.get(), {"AUTH", Rig::kOwnUser, Rig::kOwnPassword});
    send_command(stray.get(), {"SET", "k", "v"});
    check_has(failing_pretest(rig), "redis.fence");
}

TEST_CASE("a source that would fork for all its data does so only when that was accepted") {
    RigOptions options;
    options.source_config = {"repl-diskless-sync no"};
    Rig rig(options);
    rig.source().command({"SET", "k", "v"});
    // As a server below 7.0, it does not take rdb-filter-only.
    rig.source().command(
        {"ACL", "SETUSER", Rig::kOwnUser, "-replconf", "+replconf|capa", "+replconf|ack"});
    const std::string refused = failing_pretest(rig);
    check_has(refused, "forks and writes out everything once");
    check_has(refused, "exodus pretest --accept-full-sync");
    CHECK(rig.source().info("total_forks") == "0");
    const std::vector<std::string> pretest{"pretest", "--ack", "tap,redis.backlog,redis.spool-room",
                                           "--reason", "test"};
    std::vector<std::string> accepting = pretest;
    accepting.emplace_back("--accept-full-sync");
    rig.expect(0, accepting);
    check_has(rig.expect(0, pretest), "; accepted");  // kept
    check_has(rig.expect(0, {"events"}), "accepts that an endpoint sends everything once");
    rig.start_interlay();
    Ledger ledger(load_through(rig));
    ledger.start();
    wait_for_load(ledger, 1'000);
    rig.bring_to_ready();
    CHECK(rig.source().info("total_forks") == "1");
    check_equal(rig, ledger);
    check_ledger(ledger, rig.source());
}
