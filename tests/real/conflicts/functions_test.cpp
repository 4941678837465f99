// Hazard: the target has FUNCTION libraries of its own. Each policy must do to them what it does to
// keys, the stream's own effects must arrive, and a switch must not lose what clients call.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "planted.h"

using namespace exodus;
using namespace exodus::test;

namespace {

std::string library(const std::string& name, const std::string& function, int answer) {
    return fmt::format("#!lua name={}\nredis.register_function('{}', function(k,a) return {} end)",
                       name, function, answer);
}

/// What the function answers on this server.
std::string call(RedisServer& server, const std::string& function) {
    return server.text({"FCALL", function, "0"});
}

void load(RedisServer& server, const std::string& name, const std::string& function, int answer) {
    REQUIRE(server.text({"FUNCTION", "LOAD", "REPLACE", library(name, function, answer)}) == name);
}

/// On both sides equal and different, on one side only.
void plant_libraries(Planted& planted) {
    for (RedisServer* server : {&planted.rig.source(), &planted.rig.target()})
        load(*server, "equal", "equal", 1);
    load(planted.rig.source(), "differ", "differ", 1);
    load(planted.rig.target(), "differ", "differ", 2);
    load(planted.rig.source(), "source", "source", 1);
    load(planted.rig.target(), "target", "target", 2);
}

/// Exodus' own user must not have written last, where applications do: the fence would refuse it.
void read_last(Planted& planted) {
    planted.on_source({"PING"});
    planted.on_target({"PING"});
}

bool missing(const std::string& answer) {
    return answer.find("Function not found") != std::string::npos;
}

}  // namespace

TEST_CASE("fail: a library that differs stops the attempt; one of another name stays") {
    Planted planted(Planted::Lines{});
    plant_libraries(planted);
    CHECK(planted.migrate() == 5);
    const auto listed = planted.changes("conflict");
    CHECK(listed.size() == 1);
    CHECK(listed.at("functions differ") == "function library on both sides, different");
    CHECK(call(planted.rig.target(), "differ") == "2");
    CHECK(missing(call(planted.rig.target(), "source")));
    planted.on_target({"FUNCTION", "DELETE", "differ"});
    CHECK(eventually(milliseconds(60'000), [&] { return planted.migrate() == 0; }));
    CHECK(call(planted.rig.target(), "differ") == "1");
    CHECK(call(planted.rig.target(), "source") == "1");
    CHECK(call(planted.rig.target(), "target") == "2");
    check_ledger(planted.ledger, planted.rig.source());
}

TEST_CASE("a function that libraries of both sides register is a conflict under every policy") {
    Planted planted(Planted::Lines{{"migrate", "conflict = \"overwrite\""}});
    load(planted.rig.source(), "source", "same", 1);
    load(planted.rig.target(), "target", "same", 2);
    CHECK(planted.migrate() == 5);
    CHECK(planted.changes("conflict").at("functions target") ==
          "registers same, as library source of the source");
    CHECK(call(planted.rig.target(), "same") == "2");
    check_ledger(planted.ledger, planted.rig.source());
}

TEST_CASE("skip and overwrite: over the copy, a kill, the stream, a switch and a rollback") {
    for (const std::string policy : {"skip", "overwrite"}) {
        CAPTURE(policy);
        Planted planted(Planted::Lines{{"migrate", "conflict = \"" + policy + "\""}});
        RedisServer& source = planted.rig.source();
        RedisServer& target = planted.rig.target();
        plant_libraries(planted);
        planted.migrate_through_a_kill();
        const std::string differ = policy == "skip" ? "2" : "1";
        const auto check = [&] {
            CHECK(call(target, "equal") == "1");
            CHECK(call(target, "differ") == differ);
            CHECK(call(target, "source") == "1");
            CHECK(call(target, "target") == "2");
        };
        check();
        CHECK(planted.changes(policy == "skip" ? "kept" : "overwritten")
                  .contains("functions differ"));

        // A function that moves between libraries at once; one that goes.
        load(source, "one", "moves", 1);
        load(source, "two", "stays", 1);
        planted.wait_applied();
        CHECK(call(target, "moves") == "1");
        source.command({"MULTI"});
        source.command({"FUNCTION", "LOAD", "REPLACE", library("one", "other", 3)});
        source.command({"FUNCTION", "LOAD", "REPLACE", library("two", "moves", 3)});
        source.command({"EXEC"});
        planted.wait_applied();
        CHECK(call(target, "moves") == "3");
        CHECK(call(target, "other") == "3");
        source.command({"FUNCTION", "DELETE", "one"});
        planted.wait_applied();
        CHECK(missing(call(target, "other")));
        check();

        // What goes while nobody follows is told from the target's own.
        planted.rig.expect(0, {"rollback"});
        source.command({"FUNCTION", "DELETE", "two"});
        CHECK(call(target, "moves") == "3");
        CHECK(planted.migrate() == 0);
        CHECK(missing(call(target, "moves")));
        check();

        read_last(planted);
        planted.rig.do_switch();
        check();
        load(target, "late", "late", 1);
        CHECK(eventually(milliseconds(20'000), [&] { return call(source, "late") == "1"; }));
        read_last(planted);
        planted.rig.do_rollback();
        // The source's will is applied as it is: to everything but what skip keeps.
        source.command({"FUNCTION", "FLUSH"});
        planted.wait_applied();
        CHECK(missing(call(target, "target")));
        CHECK((policy == "skip" ? call(target, "differ") == "2" : missing(call(target, "differ"))));
        check_ledger(planted.ledger, source);
    }
}
