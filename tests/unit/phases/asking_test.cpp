// What happens while an operator is asked, and what a command says that never began.
#include "drive.h"
#include "workflow/lock.h"

using namespace exodus;
using namespace exodus::test;

TEST_CASE("a denial that comes while the operator is asked stops the switch") {
    Stage stage;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    const uint64_t epoch = stage.row().route.epoch;
    stage.on_confirm = [&] {
        auto context = stage.context();
        EXPECT(run_deny(context, "switch"), 0);
    };
    EXPECT(migrate(stage, MigrateGoal::switched), 4);
    CHECK(stage.asked == std::vector<std::string>{"switch"});
    CHECK(stage.row().state == S::ready);
    CHECK(stage.row().route.epoch == epoch);
    stage.on_confirm = nullptr;
    EXPECT(approve(stage), 0);
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
}

TEST_CASE("a stop reaches the prompt: the question stays unanswered, and nothing changes") {
    Stage stage;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    auto context = stage.context();
    MigrateOptions options;
    options.goal = MigrateGoal::switched;
    const auto asks = [&](const ConfirmRequest& request) -> Status {
        REQUIRE(request.may_go_on);
        CHECK(request.may_go_on());
        stage.stop.request_stop();
        return request.may_go_on();
    };
    context.confirm = asks;
    EXPECT(run_migrate(context, options), 130);
    CHECK(stage.row().state == S::ready);
}

TEST_CASE("a command that finds the lock taken tells the authority of the file") {
    Stage stage;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    const auto lock =
        StateLock::take(stage.settings.state_path, stage.owner, "migrate", "migrate", {});
    REQUIRE(lock);
    const PhaseOutcome refused = rollback(stage);
    CHECK(refused.exit_code == 75);
    CHECK(refused.authority == Side::target);
    CHECK(refused.state == S::switched);
    CHECK(refused.epoch == stage.row().route.epoch);
    CHECK_FALSE(refused.stands.empty());
    CHECK(refused.next.front() == "exodus rollback");
}
