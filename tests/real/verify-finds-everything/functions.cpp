// The verifier and FUNCTION libraries: the same names with the same code, but for what the conflict
// policy lets differ.
#include "families/redis/functions.h"

#include <doctest/doctest.h>

#include "families/redis/verifier.h"
#include "tests/support/redis_server.h"
#include "tests/unit/redis_ops/support.h"

using namespace exodus;
using namespace exodus::test;

namespace {

void load(RedisServer& server, const std::string& name, int answer) {
    const std::string code = "#!lua name=" + name + "\nredis.register_function('" + name +
                             "', function(k,a) return " + std::to_string(answer) + " end)";
    REQUIRE(server.text({"FUNCTION", "LOAD", "REPLACE", code}) == name);
}

struct Sides {
    RedisServer source{ServerOptions{Engine::redis, {}, {}}};
    RedisServer target{ServerOptions{Engine::valkey, {}, {}}};
    Migration migration{source.port(), target.port()};

    std::unique_ptr<Verifier> verifier(Direction direction = Direction::forward) {
        return redis::make_redis_verifier(migration.context, direction, {});
    }
};

std::string said(const Result<VerifyResult>& result) {
    if (!result) return result.error().message;
    std::string text;
    for (const auto& row : result->samples)
        text += row.location + " " + row.key + " " + row.kind + "; ";
    return text;
}

}  // namespace

TEST_CASE("verify: libraries that are missing or differ, in the whole run and inside the hold") {
    Sides sides;
    load(sides.source, "same", 1);
    load(sides.target, "same", 1);
    load(sides.target, "own", 1);
    for (const bool final : {false, true}) {
        CAPTURE(final);
        const auto verify = [&] {
            return final ? sides.verifier()->final_check({}, Deadline::in(milliseconds(10'000)))
                         : sides.verifier()->run({});
        };
        auto clean = verify();
        CHECK_MESSAGE(said(clean) == "", said(clean));
        REQUIRE(clean);
        CHECK(clean->kept == 1);
        load(sides.source, "lost", 1);
        load(sides.target, "same", 2);
        const auto found = verify();
        CHECK(said(found) == "functions lost missing; functions same code; ");
        REQUIRE(found);
        CHECK(found->missing == 1);
        CHECK(found->different == 1);
        CHECK_FALSE(found->clean());
        sides.source.text({"FUNCTION", "DELETE", "lost"});
        load(sides.target, "same", 1);
    }
}

TEST_CASE("verify: what both sides had once may not be gone on one, what skip keeps may differ") {
    Sides sides;
    load(sides.target, "brought", 1);
    load(sides.source, "kept", 1);
    load(sides.target, "kept", 2);
    Journal& journal = sides.migration.context.journal;
    REQUIRE(redis::save_library_names(journal, "forward-past", "functions", {"brought"}));
    REQUIRE(redis::save_library_names(journal, "forward-past", "functions-kept", {"kept"}));
    CHECK(said(sides.verifier()->run({})) == "functions brought extra; ");
    CHECK(said(sides.verifier(Direction::reverse)->run({})) == "functions brought missing; ");
}
