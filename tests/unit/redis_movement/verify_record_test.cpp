// Of which verification a stored one is the beginning, and what goes with the copy that it is
// about.
#include "families/redis/verify_record.h"

#include <doctest/doctest.h>

#include "tests/unit/redis_ops/support.h"

namespace exodus::redis {
namespace {

TEST_CASE("a stored verification goes on for the same copy only, and goes with it") {
    test::MemoryJournal journal;
    VerifyRecord record(journal, Direction::forward);
    const VerifyIdentity now{"config", "replid 100 0 0 0", "run-a", "run-b", 60'000};
    VerifyRun run;
    run.result.compared = 7;
    run.result.missing = 1;
    const auto resumes = [&](const VerifyIdentity& identity) {
        VerifyRun found;
        const bool loaded = record.load(identity, found).value();
        CHECK(found.result.missing == (loaded ? 1 : 0));
        return loaded;
    };
    REQUIRE(record.save(now, run).has_value());
    CHECK(resumes(now));
    VerifyIdentity again = now;
    again.lineage = "replid 900 0 0 1";  // copied anew by the same servers
    CHECK_FALSE(resumes(again));
    CHECK_FALSE(resumes(now));  // it is gone, not kept for later

    REQUIRE(record.save(now, run).has_value());
    REQUIRE(record.save_open({{0, "missing"}}).has_value());
    REQUIRE(record.forget().has_value());
    CHECK_FALSE(resumes(now));
    CHECK(record.load_open().value().empty());
}

}  // namespace
}  // namespace exodus::redis
