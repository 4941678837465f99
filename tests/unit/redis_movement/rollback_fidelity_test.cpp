// What pretest says of the way back, judged without servers: what the target can hold and the
// source cannot take.
#include <doctest/doctest.h>

#include "families/redis/checks_way_back.h"

using namespace exodus;
using namespace exodus::redis;

namespace {

const Check kCheck{"redis.rollback-fidelity", "", check_way_back};

bool says(const Findings& findings, Severity severity, const std::string& part) {
    for (const Finding& finding : findings) {
        CHECK(finding.id == kCheck.id);
        if (finding.severity == severity && finding.text.find(part) != std::string::npos)
            return true;
    }
    return false;
}

}  // namespace

TEST_CASE("the way back between equal servers carries everything") {
    WayBack way;
    way.source_rdb = way.target_rdb = 11;
    way.source_field_expiries = way.target_field_expiries = true;
    way.values = {{"set/listpack", 20, 11}, {"hash/listpack", 16, 11}};
    way.module_values = {"odd-value/raw"};
    way.source_databases = way.target_databases = 16;
    way.source_bulk_bytes = way.target_bulk_bytes = 512;
    way.source_memory_bytes = way.target_memory_bytes = 100;
    const Findings findings = judge_way_back(kCheck, way);
    REQUIRE(findings.size() == 1);
    CHECK(findings[0].severity == Severity::pass);
}

TEST_CASE("what a newer target can hold is told, what applications have already is a warning") {
    WayBack way;
    way.source_rdb = 10;
    way.target_rdb = 80;
    way.target_field_expiries = true;
    // Of Valkey 9: a hash with field expiries; the others as redis 7.2 writes them.
    way.values = {{"set/listpack", 20, 80},
                  {"string/embstr", 0, 80},
                  {"hash/listpack with expiries", 22, 80}};
    Findings findings = judge_way_back(kCheck, way);
    CHECK(findings.size() == 3);
    CHECK(says(findings, Severity::info, "carried back by commands: set/listpack"));
    CHECK(says(findings, Severity::info, "a rollback would lose it: hash/listpack with expiries"));
    CHECK(says(findings, Severity::info, "hash fields can expire on the target and not on"));

    way.module_values = {"odd-value/raw"};
    findings = judge_way_back(kCheck, way);
    CHECK(says(findings, Severity::warn, "values of modules (odd-value/raw)"));
    CHECK(says(findings, Severity::warn, "RDB version 80, the source loads 10"));
    way.module_values.clear();
    way.modules = {"search"};
    CHECK(says(judge_way_back(kCheck, way), Severity::info, "carried back: search"));
}

TEST_CASE("what is long is cut, and limits count only where the target's are wider") {
    WayBack way;
    for (char c = 'a'; c <= 'j'; ++c) way.commands.emplace_back(1, c);
    way.source_databases = 16;
    way.target_databases = 15;
    way.source_bulk_bytes = 512;
    way.target_bulk_bytes = 100;
    way.source_memory_bytes = 100;
    way.target_memory_bytes = 100;
    Findings findings = judge_way_back(kCheck, way);
    REQUIRE(findings.size() == 1);
    CHECK(says(findings, Severity::info, "a, b, c, d, e, f, g, h and 2 more"));
    way.commands.clear();
    way.target_memory_bytes = 0;  // none
    findings = judge_way_back(kCheck, way);
    REQUIRE(findings.size() == 1);
    CHECK(says(findings, Severity::info, "maxmemory of the source"));
    // Where a side does not tell, nothing is claimed.
    way = {};
    way.target_databases = 16;
    way.target_bulk_bytes = 512;
    CHECK(judge_way_back(kCheck, way).front().severity == Severity::pass);
}
