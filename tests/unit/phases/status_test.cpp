// What status and the flags say, and which command is named next.
#include "base/limits.h"
#include "drive.h"
#include "workflow/evidence.h"

using namespace exodus;
using namespace exodus::test;

TEST_CASE("what blocks one direction is not hidden by the other, which is well") {
    Stage stage;
    until_ready(stage);
    REQUIRE(stage.store->set_flags(stage.row().id, Direction::reverse, {"", "no right to write"}));
    EXPECT(migrate(stage), 0);  // asks the forward direction
    CHECK(stage.row().reverse_flags.blocked == "no right to write");
    CHECK(stage.row().forward_flags.blocked.empty());
    stage.interlay.reset();
    auto context = stage.context();
    auto silent = read_status(context, {});
    REQUIRE(silent);
    CHECK(silent->flags == std::vector<std::string>{"blocked: reverse, no right to write"});
}

TEST_CASE("a lag that is not known yet is said so, and is no low one") {
    Stage stage;
    until_ready(stage);
    stage.world.with(Direction::forward, [](FakeLane& lane) { return lane.lag_ms.reset(), 0; });
    auto context = stage.context();
    auto report = read_status(context, {});
    REQUIRE(report);
    CHECK(report->data_flow.find("not yet caught up") != std::string::npos);
    CHECK(to_json(*report).at("forward").at("lag_ms").is_null());
    stage.world.with(Direction::forward, [](FakeLane& lane) { return lane.lag_ms = 1'500, 0; });
    report = read_status(context, {});
    REQUIRE(report);
    CHECK(report->data_flow.find("lag 1.50 s") != std::string::npos);
    CHECK(to_json(*report).at("forward").at("lag_ms") == 1'500);
}

TEST_CASE("status shows both sides, flow, way back, gates and the next command") {
    Stage stage;
    auto context = stage.context();
    auto fresh = read_status(context, {});
    REQUIRE(fresh);
    CHECK(fresh->gates.size() == 6);
    CHECK(fresh->gates[0].verdict == "MISSING");
    CHECK(fresh->next.front() == "exodus pretest");
    CHECK(fresh->data_flow == "none");
    until_ready(stage);
    auto ready = read_status(context, {});
    REQUIRE(ready);
    CHECK(ready->explained == "switch waits for approval");
    CHECK(ready->next.front() == "exodus approve switch --reason TEXT");
    stage.world.target_down = true;
    ready = read_status(context, {});
    REQUIRE(ready);
    CHECK(!ready->target.reachable);
    CHECK(ready->target.version == "fake 2");
    const auto health = to_json(*ready).at("target").at("health");
    for (const char* name : {"latency_us", "items", "memory_used_bytes", "memory_max_bytes",
                             "replicas", "replica_lag_bytes"}) {
        CAPTURE(name);
        CHECK(health.at(name).is_null());
        CHECK(to_json(*ready).at("source").at("health").at(name).is_number());
    }
    CHECK(ready->explained == "the target has trouble");
    CHECK(ready->next.front() == "exodus status --watch");
    CHECK(ready->data_flow.find("lag 0.00 s") != std::string::npos);
    CHECK(ready->workers.size() == 1);
    for (std::size_t i = 0; i < 5; ++i) {
        CAPTURE(ready->gates[i].name);
        CAPTURE(ready->gates[i].why);
        CHECK(ready->gates[i].verdict == "PASS");
    }
    CHECK(ready->data_line.starts_with("100 of 100 keys"));
    CHECK(to_json(*ready).at("authority") == "source");
    stage.interlay.reset();
    auto silent = read_status(context, {});
    REQUIRE(silent);
    CHECK(!silent->interlay_reachable);
    CHECK(silent->data_flow == "stands still: no interlay runs");
}

TEST_CASE("the next command is one that would work, or one that removes what is in the way") {
    Stage stage;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    const auto next = [&] {
        auto context = stage.context();
        auto report = read_status(context, {});
        REQUIRE(report);
        return report->next;
    };
    const auto has = [](const std::vector<std::string>& list, const std::string& word) {
        return std::any_of(list.begin(), list.end(), [&](const std::string& line) {
            return line.find(word) != std::string::npos;
        });
    };
    const auto set = [&](Direction direction, auto change) {
        stage.world.with(direction, [&](FakeLane& lane) { return change(lane), 0; });
    };
    CHECK(next().front() == "exodus migrate --switch");

    set(Direction::forward, [](FakeLane& lane) { lane.blocked = "target lost its data"; });
    CHECK(next().front() == "exodus events");
    CHECK(has(next(), "exodus rollback"));
    for (const char* word : {"migrate", "approve", "compare", "exodus test", "commit"}) {
        CAPTURE(word);
        CHECK_FALSE(has(next(), word));
    }
    const PhaseOutcome refused = migrate(stage, MigrateGoal::switched);
    CHECK(refused.exit_code == 5);
    CHECK(refused.next.front() == "exodus events");
    CHECK_FALSE(has(refused.next, "migrate"));
    set(Direction::forward, [](FakeLane& lane) { lane.blocked.clear(); });

    set(Direction::reverse, [](FakeLane& lane) { lane.blocked = "no right to write"; });
    CHECK(next().front() == "exodus events");
    set(Direction::reverse, [](FakeLane& lane) { lane.blocked.clear(); });

    set(Direction::forward, [](FakeLane& lane) { lane.failed_items = 2; });
    CHECK(next().front() == "exodus errors");
    CHECK_FALSE(has(next(), "migrate"));
    {
        auto context = stage.context();
        CHECK(read_status(context, {})->explained.find("2 items") != std::string::npos);
    }
    set(Direction::forward, [](FakeLane& lane) { lane.failed_items = 0; });

    set(Direction::forward, [](FakeLane& lane) { lane.degraded = "target: refused"; });
    CHECK(next().front() == "exodus status --watch");
    CHECK_FALSE(has(next(), "--switch"));
    set(Direction::forward, [](FakeLane& lane) { lane.degraded.clear(); });

    stage.settings.gates.evidence_age_ms = -1;  // whatever was measured is too old
    CHECK(next().front() == "exodus compare");
    CHECK_FALSE(has(next(), "--switch"));
    stage.settings.gates.evidence_age_ms = Settings{}.gates.evidence_age_ms;

    auto context = stage.context();
    EXPECT(run_deny(context, "switch"), 0);
    CHECK(next().front() == "exodus approve switch --reason TEXT");
    EXPECT(approve(stage), 0);

    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    CHECK(next().front() == "exodus commit");
    CHECK(has(next(), "rollback"));
    set(Direction::reverse, [](FakeLane& lane) { lane.blocked = "source lost its data"; });
    CHECK(next() == std::vector<std::string>{"exodus events",
                                             "exodus commit --skip-gate commit --reason TEXT"});
    set(Direction::reverse, [](FakeLane& lane) {
        lane.blocked.clear();
        lane.degraded = "source: refused";
    });
    CHECK(next().front() == "exodus status --watch");
    CHECK_FALSE(has(next(), "--skip-gate"));
    stage.world.source_down = true;
    CHECK(next() == std::vector<std::string>{"exodus status --watch",
                                             "exodus commit --skip-gate commit --reason TEXT"});
}

TEST_CASE("a skip is shown until commit, however many decisions came after it") {
    Stage stage;
    EXPECT(pretest(stage), 0);
    EXPECT(analyze(stage), 0);
    auto context = stage.context();
    context.skip_gate = {"compare", "test"};
    EXPECT(run_migrate(context, {}), 0);
    for (int i = 0; i < 60; ++i) EXPECT(approve(stage), 0);
    auto reading = stage.context();
    CHECK(read_status(reading, {})->skipped.size() == 2);
}

TEST_CASE("the strategy that is shown is the configured one") {
    Stage stage;
    stage.settings.migrate.strategy = Strategy::blue_green;
    auto context = stage.context();
    CHECK(to_json(*read_status(context, {})).at("strategy") == "blue-green");
    stage.settings.source.host.clear();  // no configuration at hand: that of init
    CHECK(to_json(*read_status(context, {})).at("strategy") == "big-bang");
}

TEST_CASE("a copy that rests is resumed before anything else") {
    Stage stage;
    until_compared(stage);
    EXPECT(test_phase(stage), 0);
    auto context = stage.context();
    stage.world.with(Direction::forward,
                     [](FakeLane& lane) { return lane.blocked = "stopped", 0; });
    CHECK(migrate(stage).exit_code == 5);
    stage.world.with(Direction::forward, [](FakeLane& lane) { return lane.blocked.clear(), 0; });
    REQUIRE(stage.row().state == S::copying);
    EXPECT(migrate(stage, MigrateGoal::pause), 0);
    auto report = read_status(context, {});
    REQUIRE(report);
    CHECK(report->next.front() == "exodus migrate --resume");
}

namespace {

nlohmann::json status_now(Stage& stage) {
    auto context = stage.context();
    auto report = read_status(context, {});
    REQUIRE(report);
    return to_json(*report);
}

std::size_t count(const nlohmann::json& switches, const char* field, const std::string& word) {
    return static_cast<std::size_t>(
        std::count_if(switches.begin(), switches.end(),
                      [&](const nlohmann::json& row) { return row.at(field) == word; }));
}

}  // namespace

TEST_CASE("what test rehearses and drills is no switch") {
    Stage stage;
    until_ready(stage);
    const auto rehearsed = status_now(stage).at("switches");
    CHECK(rehearsed.size() > 4);
    CHECK(count(rehearsed, "what", "rehearsal") == rehearsed.size());
    CHECK(count(rehearsed, "kind", "switch") > 0);
    CHECK(count(rehearsed, "kind", "rollback") > 0);
    CHECK(count(rehearsed, "outcome", "done") > 0);
    EXPECT(approve(stage), 0);
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    EXPECT(rollback(stage), 0);
    const auto all = status_now(stage).at("switches");
    CHECK(all.size() == rehearsed.size() + 2);
    CHECK(all.at(0).at("what") == "rollback");
    CHECK(all.at(1).at("what") == "switch");
    CHECK(all.at(1).at("kind") == "switch");
    CHECK(all.at(2).at("what") == "rehearsal");
}

TEST_CASE("a rehearsal that only its end proves is one, too: without the switch, and given back") {
    Stage stage;
    until_compared(stage);
    TestOptions options;
    options.drill_rollback = options.drill_crash = false;
    static_cast<void>(test_phase(stage, options));
    const auto alone = status_now(stage).at("switches");
    REQUIRE(alone.size() == 1);
    CHECK(alone.at(0).at("what") == "rehearsal");
    CHECK(alone.at(0).at("outcome") == "rehearsed");
    struct Killed {};
    auto context = stage.context();
    context.fault = [](std::string_view point) {
        if (point == "C8.after-done") throw Killed{};
    };
    options.drill_rollback = true;
    options.smoke_file = stage.write("smoke", "PING => OK\n");
    CHECK_THROWS_AS(run_test(context, options), Killed);
    REQUIRE(stage.row().route.authority == Side::target);
    EXPECT(test_phase(stage), 0);  // gives the authority back before it begins
    const auto all = status_now(stage).at("switches");
    CHECK(all.size() > 3);
    CHECK(count(all, "what", "rehearsal") == all.size());
}

TEST_CASE("rehearsals push no switch out of status, and what is left out is counted") {
    Stage stage;
    const int64_t id = stage.row().id;
    const auto add = [&](const char* data) {
        EvidenceRow row;
        row.kind = evidence_kind::kCutover;
        row.verdict = EvidenceVerdict::pass;
        row.data = data;
        REQUIRE(stage.store->add_evidence(id, row));
    };
    // Of an older exodus: it stays what it was called.
    add(R"({"kind":"switch","outcome":"done"})");
    add(R"({"kind":"switch","outcome":"rehearsed"})");
    add(R"({"kind":"rollback","outcome":"done","rehearsal":false})");
    const std::size_t more = limits::kStatusRehearsals_max + 5;
    for (std::size_t i = 0; i < more; ++i)
        add(R"({"kind":"switch","outcome":"done","rehearsal":true})");
    const auto status = status_now(stage);
    const auto& switches = status.at("switches");
    CHECK(count(switches, "what", "switch") == 1);
    CHECK(count(switches, "what", "rollback") == 1);
    CHECK(count(switches, "what", "rehearsal") == limits::kStatusRehearsals_max);
    CHECK(switches.back().at("what") == "switch");
    CHECK(status.at("switches_left_out") == 6);
    for (std::size_t i = 0; i < limits::kStatusSwitches_max; ++i)
        add(R"({"kind":"switch","outcome":"done","rehearsal":false})");
    const auto later = status_now(stage);
    CHECK(count(later.at("switches"), "what", "switch") == limits::kStatusSwitches_max);
    CHECK(later.at("switches_left_out") == 8);
}

namespace {

std::optional<GateLine> line_of(Stage& stage, const std::string& name) {
    auto context = stage.context();
    const auto report = read_status(context, {});
    REQUIRE(report);
    for (const GateLine& line : report->gates) {
        if (line.name == name) return line;
    }
    return std::nullopt;
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("the gate of the switch is told when ready, with all that it lacks") {
    Stage stage;
    CHECK_FALSE(line_of(stage, "switch"));
    until_ready(stage);
    CHECK_FALSE(line_of(stage, "commit"));
    auto gate = line_of(stage, "switch");
    REQUIRE(gate);
    CHECK(gate->verdict == "MISSING");
    CHECK(has(gate->why, "a decision with an owner: none"));
    CHECK(has(gate->why, "exodus approve switch"));
    CHECK(has(gate->why, "exodus migrate --switch measures them"));
    EXPECT(approve(stage), 0);
    gate = line_of(stage, "switch");
    REQUIRE(gate);
    CHECK_FALSE(has(gate->why, "a decision with an owner"));
    stage.settings.gates.evidence_age_ms = -1;  // whatever was measured is too old
    CHECK(has(line_of(stage, "switch")->why, "gate compare holds, for this data: stale"));
    stage.settings.gates.evidence_age_ms = Settings{}.gates.evidence_age_ms;
    auto context = stage.context();
    EXPECT(run_deny(context, "switch"), 0);
    CHECK(line_of(stage, "switch")->verdict == "FAIL");
}

TEST_CASE("the gate of the commit is told behind the switch: an open watch window is no failure") {
    Stage stage;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    CHECK_FALSE(line_of(stage, "switch"));
    stage.settings.cutover.watch_ms = 3'600'000;
    auto gate = line_of(stage, "commit");
    REQUIRE(gate);
    CHECK(gate->verdict == "MISSING");
    for (const char* part : {"the watch window is over", "of 3600 s since the switch",
                             "the way back follows", "final verify", "no typed confirmation"})
        CHECK_MESSAGE(has(gate->why, part), gate->why);
    stage.settings.cutover.watch_ms = 0;
    CHECK_FALSE(has(line_of(stage, "commit")->why, "the watch window"));
    EXPECT(commit(stage), 0);
    CHECK_FALSE(line_of(stage, "commit"));
}

TEST_CASE("another configuration than the interlay's is said, with the command that helps") {
    Stage stage;
    until_ready(stage);
    const auto report = [](const PhaseContext& context, const StatusOptions& options = {}) {
        PhaseContext mine = context;
        auto out = read_status(mine, options);
        REQUIRE(out);
        return *out;
    };
    const PhaseContext context = stage.context();
    CHECK(to_json(report(context)).at("config_changed") == "");
    CHECK(report(context).flags.empty());
    Settings changed = stage.settings;  // the interlay keeps its own
    changed.config_hash = "config-2";
    changed.gates.compare_samples_min = 1'000'000'000;
    const StatusReport now = report(context.with(changed));
    CHECK(has(now.config_changed, "(config-1)"));
    CHECK(has(now.config_changed, "(config-2)"));
    CHECK(has(now.config_changed, "exodus interlay --takeover"));
    CHECK(now.flags == std::vector<std::string>{"configuration: " + now.config_changed});
    CHECK(now.gates.at(2).verdict != "PASS");  // by what commands read
    const StatusReport broken = report(context, {.config_error = "exodus.toml:3"});
    CHECK(has(broken.config_changed, "exodus.toml:3"));
    CHECK(has(broken.config_changed, "exodus config check"));
    // Nobody knows what an interlay that does not run, or of an older exodus, began with.
    changed.config_hash.clear();
    CHECK(report(context.with(changed)).config_changed.empty());
    stage.interlay.reset();
    changed.config_hash = "config-2";
    CHECK(report(context.with(changed)).config_changed.empty());
}

TEST_CASE("progress of a copy tells bytes per second, at the rate of its items") {
    Stage stage;
    until_compared(stage);
    EXPECT(test_phase(stage), 0);
    std::optional<Progress> seen;
    stage.world.with(Direction::forward, [](FakeLane& lane) { return lane.filling_per_s = 20, 0; });
    stage.on_progress = [&](const Progress& progress) {
        if (progress.step != "copying") return;
        seen = progress;
        stage.world.with(Direction::forward,
                         [](FakeLane& lane) { return lane.filling_per_s = 0, 0; });
    };
    EXPECT(migrate(stage), 0);
    REQUIRE(seen);
    CHECK(seen->rate == 20);
    CHECK(seen->bytes_per_s == 20 * 50);
}
