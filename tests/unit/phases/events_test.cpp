// What the phases leave in the log of events: who asked for what and how it ended, once each, and
// never a secret.
#include <set>

#include "drive.h"

using namespace exodus;
using namespace exodus::test;
using nlohmann::json;

namespace {

std::vector<EventRow> all(Stage& stage) {
    return *stage.store->events_since(stage.row().id, 0, 10'000);
}
std::vector<EventRow> of(Stage& stage, const std::string& code) {
    std::vector<EventRow> out;
    for (EventRow& event : all(stage)) {
        if (event.code == code) out.push_back(std::move(event));
    }
    return out;
}
json data(const EventRow& event) { return json::parse(event.data); }

}  // namespace

TEST_CASE("a phase is told at its beginning and its end, with owner, reason and exit code") {
    Stage stage;
    EXPECT(pretest(stage), 0);
    const auto began = of(stage, "phase.began");
    const auto ended = of(stage, "phase.ended");
    REQUIRE(began.size() == 1);
    REQUIRE(ended.size() == 1);
    CHECK(began[0].id < ended[0].id);
    CHECK(data(began[0]).at("phase") == "pretest");
    CHECK(data(began[0]).at("by") == "mira@ops1");
    CHECK(data(began[0]).at("reason") == "because");
    CHECK(ended[0].severity == "info");
    CHECK(data(ended[0]).at("verdict") == "done");
    CHECK(data(ended[0]).at("exit_code") == 0);
    CHECK(data(ended[0]).at("state") == "pretested");
    CHECK(ended[0].text.find("mira@ops1") != std::string::npos);
}

TEST_CASE("a gate that is not met and a refusal are warnings, a stop is none") {
    Stage stage;
    stage.world.checks["fake.rights"] = {
        {"fake.rights", Severity::fail, "target", "no right to RESTORE", "grant it"}};
    EXPECT(pretest(stage), 2);
    EXPECT(commit(stage), 3);
    stage.stop.request_stop();
    EXPECT(pretest(stage), 130);
    const auto ended = of(stage, "phase.ended");
    REQUIRE(ended.size() == 3);
    CHECK(ended[0].severity == "warn");
    CHECK(data(ended[0]).at("exit_code") == 2);
    CHECK(data(ended[0]).at("verdict") == "failed");
    CHECK(ended[1].severity == "warn");
    CHECK(data(ended[1]).at("verdict") == "refused");
    CHECK(ended[2].severity == "info");
    CHECK(data(ended[2]).at("verdict") == "stopped");
    CHECK(of(stage, "phase.began").size() == 2);
}

TEST_CASE("a dry run leaves no event") {
    Stage stage;
    const std::size_t before = all(stage).size();
    auto context = stage.context();
    context.dry_run = true;
    static_cast<void>(run_pretest(context, {}));
    CHECK(all(stage).size() == before);
}

TEST_CASE("what a phase finds is told once, until it is found anew") {
    Stage stage;
    stage.world.checks["fake.rights"] = {
        {"fake.rights", Severity::fail, "target", "no right to RESTORE", "grant it"},
        {"fake.rights", Severity::warn, "source", "small backlog", "raise it"}};
    EXPECT(pretest(stage), 2);
    EXPECT(pretest(stage), 2);
    const auto critical = of(stage, "finding.critical");
    REQUIRE(critical.size() == 1);
    CHECK(critical[0].severity == "critical");
    CHECK(critical[0].text == "pretest: fake.rights, target: no right to RESTORE");
    CHECK(of(stage, "finding.warning").size() == 1);
    stage.world.checks.clear();
    EXPECT(pretest(stage), 0);
    stage.world.checks["fake.rights"] = {
        {"fake.rights", Severity::fail, "target", "no right to RESTORE", "grant it"}};
    EXPECT(pretest(stage), 2);
    CHECK(of(stage, "finding.critical").size() == 2);
    // Whatever a check finds, the log stays readable.
    for (int i = 0; i < 500; ++i)
        stage.world.checks["fake.reach"].push_back(
            {"fake." + std::to_string(i), Severity::fail, "target", "x", ""});
    EXPECT(pretest(stage), 2);
    CHECK(of(stage, "finding.critical").size() <= 2 + limits::kStatusFindings_max);
}

TEST_CASE("a switch and a rollback say how long writes were held, who asked and why") {
    Stage stage;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    stage.reason = "rehearsed twice";
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    EXPECT(rollback(stage), 0);
    std::vector<EventRow> done;
    for (EventRow& event : of(stage, "cutover.done")) {
        if (data(event).at("reason") == "rehearsed twice") done.push_back(std::move(event));
    }
    REQUIRE(done.size() == 2);
    CHECK(data(done[0]).at("kind") == "switch");
    CHECK(data(done[1]).at("kind") == "rollback");
    for (const EventRow& event : done) {
        CHECK(data(event).at("hold_us").get<int64_t>() > 0);
        CHECK(data(event).at("by") == "mira@ops1");
        CHECK(event.text.find("writes were held for") != std::string::npos);
    }
    std::set<std::string> confirmed;
    for (const EventRow& event : of(stage, "decision.confirm")) {
        CHECK(data(event).at("by") == "mira@ops1");
        confirmed.insert(data(event).at("subject"));
    }
    CHECK(confirmed == std::set<std::string>{"switch", "rollback"});
    bool switched = false;
    for (const EventRow& event : of(stage, "state.changed")) {
        CHECK(data(event).at("by") == "mira@ops1");
        switched |= data(event).at("to") == "switched" && data(event).at("authority") == "target" &&
                    event.text.find("rehearsed twice") != std::string::npos;
    }
    CHECK(switched);
}

TEST_CASE("a pause and its end are told once each") {
    Stage stage;
    until_ready(stage);
    EXPECT(migrate(stage, MigrateGoal::pause), 0);
    EXPECT(migrate(stage, MigrateGoal::pause), 0);
    EXPECT(migrate(stage, MigrateGoal::resume), 0);
    EXPECT(migrate(stage, MigrateGoal::resume), 0);
    const auto paused = of(stage, "copy.paused");
    REQUIRE(paused.size() == 1);
    CHECK(paused[0].text.find("mira@ops1: because") != std::string::npos);
    CHECK(of(stage, "copy.resumed").size() == 1);
}

TEST_CASE("a run whose process died is told by the next one") {
    Stage stage;
    REQUIRE(stage.store->begin_run(stage.row().id, 1, "pretest", Owner{2, "noa", "ops2", "x", 2}));
    EXPECT(pretest(stage), 0);
    const auto died = of(stage, "phase.died");
    REQUIRE(died.size() == 1);
    CHECK(died[0].text.find("noa@ops2") != std::string::npos);
}

TEST_CASE("no event carries a secret, and every one has a severity and an object") {
    Stage stage;
    const std::string password = "s3cret-of-nobody";
    stage.settings.source.password = Secret(password);
    stage.settings.target.password = Secret(password);
    stage.settings.interlay.http_token = Secret(password);
    until_ready(stage);
    EXPECT(approve(stage), 0);
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    stage.world.source_down = true;
    EXPECT(rollback(stage), 0);
    const auto events = all(stage);
    REQUIRE(events.size() > 30);
    for (const EventRow& event : events) {
        CAPTURE(event.code);
        CHECK(event.text.find(password) == std::string::npos);
        CHECK(event.data.find(password) == std::string::npos);
        CHECK(data(event).is_object());
        CHECK(
            (event.severity == "info" || event.severity == "warn" || event.severity == "critical"));
    }
}
