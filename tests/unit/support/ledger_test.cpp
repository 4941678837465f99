// The ledger must be able to fail: a checker that finds nothing is worth nothing.
#include "tests/support/ledger.h"

#include <doctest/doctest.h>

using namespace exodus;
using namespace exodus::test;

namespace {
struct Loaded {
    RedisServer server;
    Ledger ledger;
    LedgerOptions options() const {
        LedgerOptions options;
        options.port = server.port();
        options.pause_us = 100;
        return options;
    }
    Loaded() : ledger(options()) {
        ledger.start();
        REQUIRE(eventually(milliseconds(20'000),
                           [&] { return ledger.summary().acknowledged > 20'000; }));
        ledger.stop();
        server.command({"SELECT", "1"});
    }
    std::string key(const std::string& pattern) {
        return to_text(server.command({"KEYS", pattern})->element[0]);
    }
};
}  // namespace

TEST_CASE("the ledger is exact on one healthy server and finds what was planted") {
    Loaded loaded;
    CHECK(loaded.ledger.check(loaded.server.port()) == std::vector<std::string>{});

    SUBCASE("a lost write") { loaded.server.command({"LPOP", loaded.key("led:*:lpush:*")}); }
    SUBCASE("a doubled write") {
        const std::string key = loaded.key("led:*:append:*");
        const std::string value = loaded.server.text({"GET", key});
        loaded.server.command({"APPEND", key, value.substr(0, value.find(';') + 1)});
    }
    SUBCASE("a doubled increment") { loaded.server.command({"INCR", "led:{1}:incr"}); }
    SUBCASE("a torn transaction") { loaded.server.command({"INCR", "led:{1}:mcount"}); }
    SUBCASE("a lost stream entry") {
        loaded.server.command({"XTRIM", loaded.key("led:*:xadd:*"), "MAXLEN", "1"});
    }
    SUBCASE("a wrong expiry") {
        loaded.server.command({"PEXPIRE", loaded.key("led:*:ttl:*"), "5000"});
    }
    SUBCASE("a lost queue element") {
        loaded.server.command({"SELECT", "0"});
        loaded.server.command({"RPUSH", "led:queue:0", "1"});
    }
    CHECK_FALSE(loaded.ledger.check(loaded.server.port()).empty());
}
