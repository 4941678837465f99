// What --dry-run of a phase says: nothing is changed, and the gates on the way are asked.
#include <algorithm>

#include "drive.h"

using namespace exodus;
using namespace exodus::test;

TEST_CASE("dry run changes nothing and names what is in the way") {
    Stage stage;
    until_ready(stage);
    const uint64_t epoch = stage.row().route.epoch;
    auto context = stage.context();
    context.dry_run = true;
    MigrateOptions options;
    options.goal = MigrateGoal::switched;
    const PhaseOutcome outcome = run_migrate(context, options);
    CHECK(outcome.exit_code == 0);
    CHECK(std::any_of(outcome.details.begin(), outcome.details.end(),
                      [](const std::string& line) { return line.starts_with("in the way: "); }));
    CHECK(stage.row().route.epoch == epoch);
    CHECK(stage.asked.empty());
    context.dry_run = true;
    CHECK(run_compare(context, {}).exit_code == 0);
}

TEST_CASE("dry run of a plain migrate asks the gates of the copy, where there is one to begin") {
    Stage stage;
    until_compared(stage);
    EXPECT(test_phase(stage), 0);
    const auto in_the_way = [&] {
        auto context = stage.context();
        context.dry_run = true;
        const PhaseOutcome outcome = run_migrate(context, {});
        EXPECT(outcome, 0);
        return std::count_if(
            outcome.details.begin(), outcome.details.end(),
            [](const std::string& line) { return line.starts_with("in the way: "); });
    };
    CHECK(in_the_way() == 0);
    const int64_t age_max = stage.settings.gates.evidence_age_ms;
    stage.settings.gates.evidence_age_ms = -1;  // whatever was measured is too old
    CHECK(in_the_way() > 0);
    EXPECT(migrate(stage), 2);
    stage.settings.gates.evidence_age_ms = age_max;
    EXPECT(migrate(stage), 0);
    stage.settings.gates.evidence_age_ms = -1;
    CHECK(in_the_way() == 0);  // the copy is there
}

TEST_CASE("dry run of a commit from ready asks the gate of its switch, not the one behind it") {
    Stage stage;
    until_ready(stage);
    auto context = stage.context();
    context.dry_run = true;
    const PhaseOutcome outcome = run_commit(context, {});
    EXPECT(outcome, 0);
    REQUIRE(outcome.gates.size() == 1);
    CHECK(outcome.gates.front().gate == Gate::switch_over);
}
