// The phase commands as the tests call them: one function per command, options where a test needs
// them, and a check of the exit code that prints what the command said.
#pragma once

#include <doctest/doctest.h>
#include <string>

#include "bench.h"
#include "workflow/phases/analyze.h"
#include "workflow/phases/approve.h"
#include "workflow/phases/commit.h"
#include "workflow/phases/compare.h"
#include "workflow/phases/migrate.h"
#include "workflow/phases/pretest.h"
#include "workflow/phases/rollback.h"
#include "workflow/phases/status.h"
#include "workflow/phases/test.h"

namespace exodus::test {

using S = MigrationState;

inline std::string say(const PhaseOutcome& outcome) {
    std::string text = std::to_string(outcome.exit_code) + " " + outcome.headline;
    for (const std::string& line : outcome.details) text += "\n  " + line;
    if (outcome.error) text += "\n  hint: " + outcome.error->hint;
    return text;
}

#define EXPECT(outcome, code)                          \
    do {                                               \
        const PhaseOutcome exodus_outcome = (outcome); \
        INFO(say(exodus_outcome));                     \
        REQUIRE(exodus_outcome.exit_code == (code));   \
    } while (false)

inline PhaseOutcome pretest(Stage& stage) {
    FakeTap tap;
    PretestOptions options;
    options.tap = &tap;
    auto context = stage.context();
    return run_pretest(context, options);
}
inline PhaseOutcome analyze(Stage& stage) {
    auto context = stage.context();
    return run_analyze(context, {});
}
inline PhaseOutcome compare(Stage& stage, CompareOptions options = {}) {
    auto context = stage.context();
    return run_compare(context, options);
}
inline PhaseOutcome test_phase(Stage& stage, TestOptions options = {}) {
    options.smoke_file = stage.write("smoke", "PING => OK\n");
    auto context = stage.context();
    return run_test(context, options);
}
inline PhaseOutcome migrate(Stage& stage, MigrateGoal goal = MigrateGoal::ready,
                            MigrateOptions options = {}) {
    options.goal = goal;
    auto context = stage.context();
    return run_migrate(context, options);
}
inline PhaseOutcome approve(Stage& stage) {
    auto context = stage.context();
    return run_approve(context, "switch");
}
inline PhaseOutcome rollback(Stage& stage, RollbackOptions options = {}) {
    auto context = stage.context();
    return run_rollback(context, options);
}
inline PhaseOutcome commit(Stage& stage, CommitOptions options = {}) {
    auto context = stage.context();
    return run_commit(context, options);
}

inline void until_compared(Stage& stage) {
    EXPECT(pretest(stage), 0);
    EXPECT(analyze(stage), 0);
    EXPECT(compare(stage), 0);
}
inline void until_ready(Stage& stage) {
    until_compared(stage);
    EXPECT(test_phase(stage), 0);
    EXPECT(migrate(stage), 0);
}

}  // namespace exodus::test
