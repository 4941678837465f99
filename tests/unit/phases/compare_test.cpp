// The phase compare on a real state file with the fake family: differences in data and answers,
// what could not be decided, stop and resume, another copy.
#include "drive.h"

using namespace exodus;
using namespace exodus::test;

namespace {

/// Calls `action` when the first reads were compared.
void while_comparing(Stage& stage, const std::function<void()>& action) {
    stage.settings.gates.compare_samples_min = 3'000;
    stage.on_progress = [action, done = false](const Progress& progress) mutable {
        if (progress.step == "comparing reads" && !std::exchange(done, true)) action();
    };
}

/// Stopped when more than `count` reads were compared; what comes next may run on.
PhaseOutcome compare_stopped_at(Stage& stage, uint64_t count) {
    stage.settings.gates.compare_samples_min = 5'000;
    stage.on_progress = [&stage, count](const Progress& progress) {
        if (progress.step == "comparing reads" && progress.done > count) stage.stop.request_stop();
    };
    PhaseOutcome outcome = compare(stage);
    stage.stop = std::stop_source();
    stage.on_progress = nullptr;
    return outcome;
}

GateVerdict verdict_of(const PhaseOutcome& outcome, Gate gate) {
    for (const GateReport& report : outcome.gates)
        if (report.gate == gate) return report.verdict;
    return GateVerdict::missing;
}

}  // namespace

TEST_CASE("compare: differences in the data are exit 2 and stored") {
    Stage stage;
    EXPECT(pretest(stage), 0);
    EXPECT(analyze(stage), 0);
    stage.world.verify.missing = 1;
    stage.world.verify.samples = {{"db0", "user:1", "missing", ""}};
    CHECK(compare(stage).exit_code == 2);
    CHECK(stage.row().state == S::analyzed);
    CHECK(stage.row().route.mirror_percent == 0);
    CHECK(stage.store->divergences(stage.row().id, true, 10)->size() == 1);
    stage.world.verify.missing = 0;
    stage.world.verify.samples.clear();
    EXPECT(compare(stage), 0);
    CHECK(stage.store->divergences(stage.row().id, true, 10)->empty());
}

TEST_CASE("compare: too few reads are inconclusive, confirmed divergences fail") {
    Stage stage;
    EXPECT(pretest(stage), 0);
    EXPECT(analyze(stage), 0);
    stage.interlay->reads_per_look = 0;
    CompareOptions options;
    options.reads_duration_max = milliseconds(50);
    CHECK(compare(stage, options).exit_code == 2);
    stage.interlay->reads_per_look = 700;
    options.reads_duration_max = milliseconds(0);
    stage.settings.gates.compare_samples_min = 3'000;
    std::atomic<bool> once{false};
    stage.on_progress = [&](const Progress& progress) {
        if (progress.step != "comparing reads" || once.exchange(true)) return;
        DivergenceSample sample;
        sample.command = "GET";
        sample.reason = "value";
        sample.outcome = "confirmed";
        static_cast<void>(stage.log->add(std::vector<DivergenceSample>(200, sample)));
    };
    const PhaseOutcome outcome = compare(stage, options);
    INFO(say(outcome));
    CHECK(outcome.exit_code == 2);
    CHECK(outcome.numbers["reads"]["classes"][0]["confirmed"] == 200);
}

TEST_CASE("compare: answers that could not be read again, or not be looked at, are inconclusive") {
    Stage stage;
    EXPECT(pretest(stage), 0);
    EXPECT(analyze(stage), 0);
    uint64_t unresolved = 0;
    uint64_t dropped = 0;
    SUBCASE("the re-check failed") {
        unresolved = 5'000;
        while_comparing(stage, [&] {
            DivergenceSample sample;
            sample.command = "GET";
            sample.outcome = "unresolved";
            static_cast<void>(stage.log->add(std::vector<DivergenceSample>(5'000, sample)));
            stage.interlay->candidates = 5'000;
        });
    }
    SUBCASE("the comparator was full") {
        dropped = 5'000;
        while_comparing(stage, [&] { stage.interlay->comparator_dropped = 5'000; });
    }
    SUBCASE("few of those that differ were judged") {
        dropped = 49'900;
        while_comparing(stage, [&] {
            DivergenceSample sample;
            sample.command = "GET";
            sample.outcome = "timing_inflight";
            static_cast<void>(stage.log->add(std::vector<DivergenceSample>(100, sample)));
            stage.interlay->candidates = 100;
            stage.interlay->comparator_dropped = 49'900;
        });
    }
    stage.interlay->reads_per_look = 7'000;
    stage.settings.gates.compare_samples_min = 20'000;
    CompareOptions options;
    options.reads_duration_max = milliseconds(2'000);  // enough samples; never enough for these
    const PhaseOutcome outcome = compare(stage, options);
    INFO(say(outcome));
    CHECK(outcome.exit_code == 2);
    CHECK(verdict_of(outcome, Gate::compare) == GateVerdict::inconclusive);
    const auto& row = outcome.numbers["reads"]["classes"][0];
    CHECK(row["confirmed"] == 0);
    CHECK(row["unresolved"] == unresolved);
    CHECK(row["dropped"] == dropped);
    // Equal answers count in the proportion in which those that differ were judged.
    CHECK((row["comparisons"] == 0) == (dropped == 5'000));
    if (dropped == 49'900) CHECK(row["comparisons"] < 3'000);
    CHECK(stage.row().state == S::analyzed);
}

TEST_CASE("compare waits for every candidate, and for no answer that was dropped") {
    Stage stage;
    EXPECT(pretest(stage), 0);
    EXPECT(analyze(stage), 0);
    std::string waited;
    while_comparing(stage, [&] {
        stage.interlay->candidates = 8;
        stage.interlay->equal_by_rule = 3;
        stage.interlay->comparator_dropped = 5;
    });
    stage.on_progress = [&, first = stage.on_progress](const Progress& progress) {
        first(progress);
        if (!waited.empty() || progress.waiting_for.find("read again") == std::string::npos) return;
        waited = progress.waiting_for;
        DivergenceSample sample;
        sample.command = "GET";
        sample.outcome = "timing_inflight";
        static_cast<void>(stage.log->add(std::vector<DivergenceSample>(5, sample)));
    };
    const PhaseOutcome outcome = compare(stage);
    INFO(say(outcome));
    CHECK(waited == "5 differing answers to be read again");
    CHECK(outcome.exit_code == 0);
    CHECK(outcome.numbers["reads"]["classes"][0]["unresolved"] == 0);
    CHECK(outcome.numbers["reads"]["classes"][0]["dropped"] == 5);
}

TEST_CASE("compare: stopped, it says so and goes on with what it had counted") {
    Stage stage;
    EXPECT(pretest(stage), 0);
    EXPECT(analyze(stage), 0);
    const PhaseOutcome stopped = compare_stopped_at(stage, 1'000);
    INFO(say(stopped));
    CHECK(stopped.exit_code == 130);
    CHECK(stopped.next.front() == "exodus compare");
    CHECK(stage.row().route.mirror_percent == 0);
    std::optional<uint64_t> first;
    stage.on_progress = [&](const Progress& progress) {
        if (progress.step == "comparing reads" && !first) first = progress.done;
    };
    EXPECT(compare(stage), 0);
    CHECK(first.value_or(0) > 1'000);
}

TEST_CASE("compare --restart: another copy, for which nothing is proven yet") {
    Stage stage;
    until_compared(stage);
    EXPECT(test_phase(stage), 0);
    REQUIRE(stage.row().reverse == MovementMode::standby);
    const auto lineage = [&] { return stage.store->context(stage.row().id)->lineage; };
    const std::string before = lineage();
    CompareOptions options;
    options.restart = true;
    EXPECT(compare(stage, options), 0);
    CHECK(lineage() != before);
    CHECK(stage.world.count("forward.forget") == 1);
    CHECK(stage.world.count("reverse.forget") == 1);
    CHECK(stage.row().forward == MovementMode::apply);
    const PhaseOutcome refused = migrate(stage);
    INFO(say(refused));
    CHECK(refused.exit_code == 2);
    CHECK(refused.headline.find("copied anew") != std::string::npos);
    EXPECT(test_phase(stage), 0);
    EXPECT(migrate(stage), 0);

    // The copy of a migration that is under way is not taken from under it.
    const std::string migrated = lineage();
    const auto restart = [&](bool dry_run) {
        auto context = stage.context();
        context.dry_run = dry_run;
        context.skip_gate = {"test"};
        return run_compare(context, options);
    };
    for (const bool dry_run : {true, false}) {
        const PhaseOutcome outcome = restart(dry_run);
        EXPECT(outcome, 3);
        CHECK(outcome.error->hint.find("exodus rollback") != std::string::npos);
    }
    CHECK(stage.row().state == S::ready);
    CHECK(lineage() == migrated);
    CHECK(stage.world.count("forward.forget") == 1);
    auto reading = stage.context();
    CHECK(read_status(reading, {})->skipped.empty());
    EXPECT(rollback(stage), 0);
    EXPECT(compare(stage), 0);
    CHECK(stage.row().state == S::compared);
    CHECK(lineage() != migrated);
}

TEST_CASE("what was counted about another copy does not go on") {
    Stage stage;
    EXPECT(pretest(stage), 0);
    EXPECT(analyze(stage), 0);
    EXPECT(compare_stopped_at(stage, 2'000), 130);
    EXPECT(rollback(stage), 0);
    std::optional<uint64_t> first;
    stage.on_progress = [&](const Progress& progress) {
        if (progress.step == "comparing reads" && !first) first = progress.done;
    };
    EXPECT(compare(stage), 0);
    CHECK(first.value_or(9'999) < 2'000);
}
