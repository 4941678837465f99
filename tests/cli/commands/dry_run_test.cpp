// --dry-run of a switch: every step and gate of it is told, and no byte in the directory of the
// state changes.
#include "base/clock.h"
#include "fixture.h"
#include "store/workflow_store.h"

namespace fs = std::filesystem;
using namespace exodus;
using namespace exodus::test;

namespace {

/// Moves the row as a migration that went well would have.
void stand(const Fixture& fixture, MigrationState state, Side authority) {
    auto store = WorkflowStore::open(fixture.directory.file("exodus.db"), OpenMode::existing);
    REQUIRE(store);
    const auto row = (*store)->find_migration("m1");
    REQUIRE(row);
    Transition change;
    change.row = *row;
    change.row.state = state;
    if (state == MigrationState::switched) change.row.switched_ms = wall_ms();
    change.row.route.authority = change.row.route.writes = change.row.route.reads = authority;
    const auto moved = (*store)->transition(*row, change);
    REQUIRE_MESSAGE(moved, moved.error().message);
}

/// A gate that is open: shown, too.
void skip_compare(const Fixture& fixture) {
    auto store = WorkflowStore::open(fixture.directory.file("exodus.db"), OpenMode::existing);
    REQUIRE(store);
    DecisionRow decision;
    decision.kind = "skip";
    decision.subject = "compare";
    decision.reason = "test";
    decision.owner = current_owner();
    REQUIRE((*store)->add_decision((*store)->find_migration("m1")->id, decision));
}

std::map<std::string, std::string> content(const Fixture& fixture) {
    std::map<std::string, std::string> out;
    for (const auto& entry : fs::recursive_directory_iterator(fixture.directory.path()))
        out[entry.path()] = entry.is_regular_file() ? read_file(entry.path()) : "";
    return out;
}

}  // namespace

TEST_CASE_FIXTURE(Fixture,
                  "migrate --switch --dry-run: C0 to C8, gate G6, and not a byte changed") {
    init();
    stand(*this, MigrationState::ready, Side::source);
    const auto before = content(*this);
    const RunResult text = exodus_run({"migrate", "--switch", "--dry-run"});
    INFO(text.out << text.err);
    CHECK(text.code == 0);
    std::size_t at = 0;
    for (const char* step : {"C0", "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8"}) {
        const auto found = text.out.find("would " + std::string(step) + " ", at);
        REQUIRE_MESSAGE(found != std::string::npos, step);
        at = found;
    }
    CHECK(has(text.out, "gate G6 (switch): FAIL"));
    CHECK(has(text.out, "in the way: a decision with an owner: none"));
    CHECK(has(text.out, "in the way: gate compare holds, for this data"));
    // The run measures it itself.
    CHECK_FALSE(has(text.out, "in the way: everything is ready"));
    CHECK_FALSE(has(text.out, "would copy"));
    CHECK_FALSE(has(text.out, "gate G5"));
    const auto json = last_object(exodus_run({"migrate", "--switch", "--dry-run", "--json"}));
    REQUIRE(json["gates"].size() == 1);
    CHECK(json["gates"][0]["number"] == "G6");
    CHECK(json["gates"][0]["rows"].size() >= 4);
    CHECK(content(*this) == before);
}

TEST_CASE_FIXTURE(Fixture, "--dry-run tells the way from where the migration stands") {
    init();
    stand(*this, MigrationState::tested, Side::source);
    skip_compare(*this);
    const std::string whole =
        exodus_run({"migrate", "--switch", "--strategy", "canary", "--dry-run"}).out;
    CHECK(has(whole, "would copy the data"));
    CHECK(
        has(whole, "would move reads to the target in steps of 5, 25, 50, 100 %, each for 10 min"));
    for (const char* gate : {"gate G3 (compare): SKIPPED", "gate G4", "gate G5", "gate G6"})
        CHECK_MESSAGE(has(whole, gate), whole);
    stand(*this, MigrationState::switched, Side::target);
    CHECK(has(exodus_run({"migrate", "--switch", "--dry-run"}).out, "authoritative already"));
    const auto before = content(*this);
    const std::string back = exodus_run({"rollback", "--dry-run"}).out;
    CHECK(has(back, "would C3 fence the target"));
    CHECK(has(back, "would C7 hand the authority to the source"));
    const std::string commit = exodus_run({"commit", "--dry-run"}).out;
    CHECK(has(commit, "gate G8 (commit)"));
    for (const char* measured : {"the watch window", "the way back follows", "final verify"})
        CHECK_FALSE_MESSAGE(has(commit, std::string("in the way: ") + measured), commit);
    CHECK(content(*this) == before);
}
