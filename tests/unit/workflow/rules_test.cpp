// Pure parts: the state machine, the statistics of G3, the lock, the hooks.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fstream>
#include <sys/file.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "fake_world.h"
#include "workflow/hooks.h"
#include "workflow/lock.h"
#include "workflow/statistics.h"

using namespace exodus;
using namespace exodus::test;

TEST_CASE("sample sizes follow Clopper-Pearson") {
    CHECK(trials_needed(0, 1e-5, 0.95) == 299'572);
    CHECK(trials_needed(0, 1e-5, 0.99) == 460'515);
    CHECK(upper_bound(0, 299'572, 0.95) <= 1e-5);
    CHECK(upper_bound(0, 299'571, 0.95) > 1e-5);
    CHECK(upper_bound(1, 10, 0.975) ==
          doctest::Approx(0.44502).epsilon(1e-4));  // textbook interval of 1 in 10
    CHECK(lower_bound(1, 10, 0.975) == doctest::Approx(0.00253).epsilon(1e-2));
    CHECK(incomplete_beta(2, 3, 0.4) == doctest::Approx(0.5248));
}

TEST_CASE("reads are mirrored only while the target follows, and the share outlives no switch") {
    MigrationRow row;
    CHECK_FALSE(may_mirror(row));
    row.state = MigrationState::copying;
    row.forward = MovementMode::apply;
    CHECK_FALSE(may_mirror(row));
    row.state = MigrationState::following;
    CHECK(may_mirror(row));
    row.route.mirror_percent = 5;
    const auto ready = row_for(row, MigrationState::ready, 1);
    REQUIRE(ready);
    CHECK(ready->route.mirror_percent == 5);
    const MigrationRow held = row_for_hold(*ready, 1);
    CHECK(held.route.mirror_percent == 0);
    CHECK_FALSE(may_mirror(held));
    CHECK_FALSE(may_mirror(row_for_switch(held, Side::target, MigrationState::switched, 1)));
    const auto aborted = row_for(*ready, MigrationState::aborted, 1);
    REQUIRE(aborted);
    CHECK(aborted->route.mirror_percent == 0);
}

TEST_CASE("a class is judged by budget and noise, and too few samples never pass") {
    CHECK(decide_class({"GET", 1'000, 0, 0, 0}, 1e-5, 0.99).decision ==
          ClassDecision::inconclusive);
    CHECK(decide_class({"GET", 500'000, 0, 0, 0}, 1e-5, 0.99).decision ==
          ClassDecision::within_budget);
    CHECK(decide_class({"GET", 10'000, 50, 10'000, 0}, 1e-5, 0.99).decision ==
          ClassDecision::above);
    CHECK(decide_class({"GET", 10'000, 50, 10'000, 48}, 1e-5, 0.99).decision ==
          ClassDecision::within_noise);
    CHECK_FALSE(decide_class({"GET", 0, 0, 0, 0}, 1, 0.99).passes());
    // Unresolved ones may be divergences: they can spoil a pass, and never make a failure.
    CHECK(decide_class({"GET", 500'000, 0, 0, 0, 40}, 1e-5, 0.99).decision ==
          ClassDecision::inconclusive);
    CHECK(decide_class({"GET", 500'000, 0, 0, 0, 40}, 1e-3, 0.99).decision ==
          ClassDecision::within_budget);
    CHECK(decide_class({"GET", 10'000, 50, 10'000, 48, 100}, 1e-5, 0.99).decision ==
          ClassDecision::inconclusive);
    CHECK(decide_class({"GET", 10'000, 40, 10'000, 48, 5}, 1e-5, 0.99).decision ==
          ClassDecision::within_noise);
    CHECK(decide_class({"GET", 10'000, 50, 10'000, 0, 5}, 1e-5, 0.99).decision ==
          ClassDecision::above);
}

TEST_CASE("the machine refuses what is not in the table and says what is") {
    MigrationRow row;
    CHECK(check_command(Command::pretest, row));
    const Status refused = check_command(Command::migrate, row);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::not_allowed);
    CHECK(refused.error().hint.find("pretest") != std::string::npos);
    row.state = MigrationState::analyzed;
    CHECK_FALSE(check_command(Command::migrate, row));
    CHECK(check_command(Command::migrate, row, Skips{true, true}));
    row.state = MigrationState::ready;
    CHECK_FALSE(row_for(row, MigrationState::switched, 1));
    CHECK_FALSE(row_for(row, MigrationState::committed, 1));
    CHECK(state_after(Command::compare, MigrationState::ready) == MigrationState::ready);
}

TEST_CASE("test is allowed only where a cutover can begin, and says what to do elsewhere") {
    MigrationRow row;
    for (const auto state :
         {MigrationState::created, MigrationState::pretested, MigrationState::analyzed,
          MigrationState::compared, MigrationState::tested, MigrationState::copying,
          MigrationState::following, MigrationState::ready, MigrationState::rolled_back,
          MigrationState::aborted}) {
        CAPTURE(to_string(state));
        row.state = state;
        if (check_command(Command::test, row, Skips{true, true}))
            CHECK(transition_allowed(state, MigrationState::holding));
    }
    const auto refusal = [&](MigrationState state) {
        row.state = state;
        const Status refused = check_command(Command::test, row);
        REQUIRE_FALSE(refused);
        return refused.error().message;
    };
    CHECK(refusal(MigrationState::aborted).find("compare") != std::string::npos);
    CHECK(refusal(MigrationState::copying).find("migrate --until copied") != std::string::npos);
}

TEST_CASE("compare from aborted begins an attempt; aborted with data flowing is no goal") {
    MigrationRow row;
    row.state = MigrationState::aborted;
    CHECK(goal_holds(Command::rollback, row));
    const MigrationRow begun = row_for_compare(row, 0, 0);
    CHECK(begun.state == MigrationState::analyzed);
    CHECK(begun.attempt == row.attempt + 1);
    row.forward = MovementMode::apply;
    CHECK_FALSE(goal_holds(Command::rollback, row));
    CHECK(row_at_rest(row).forward == MovementMode::off);
}

TEST_CASE("a second command finds the lock taken and learns by whom") {
    const MemoryDir dir;
    CHECK_FALSE(lock_holder(dir.file("s.db"))->has_value());
    auto first = StateLock::take(dir.file("s.db"), current_owner(), "migrate", "migrate -v",
                                 milliseconds(0));
    REQUIRE(first);
    const auto holder = lock_holder(dir.file("s.db"));
    REQUIRE((holder && holder->has_value()));
    CHECK((*holder)->phase == "migrate");
    CHECK((*holder)->command == "migrate -v");
    CHECK((*holder)->owner.pid == ::getpid());
    auto second =
        StateLock::take(dir.file("s.db"), current_owner(), "rollback", "rollback", milliseconds(0));
    REQUIRE_FALSE(second);
    CHECK(second.error().code == ErrorCode::locked);
    CHECK(second.error().message.find("'migrate -v'") != std::string::npos);
    { const StateLock ends = std::move(*first); }
    const std::string typed = "pretest --reason " + std::string(10'000, 'x');
    {
        const auto told = StateLock::take(dir.file("s.db"), current_owner(), "pretest", typed, {});
        CHECK((*lock_holder(dir.file("s.db")))->command == typed);
    }
    CHECK_FALSE(lock_holder(dir.file("s.db"))->has_value());
}

TEST_CASE("who only looks at the lock is no reason to refuse a command") {
    const MemoryDir dir;
    { const auto made = StateLock::take(dir.file("s.db"), current_owner(), "x", "x", {}); }
    const int fd = ::open(lock_path(dir.file("s.db")).c_str(), O_RDONLY | O_CLOEXEC);
    REQUIRE(::flock(fd, LOCK_SH) == 0);  // as lock_holder() does, for longer
    const std::jthread looked([fd] {
        std::this_thread::sleep_for(milliseconds(20));
        ::close(fd);
    });
    CHECK(StateLock::take(dir.file("s.db"), current_owner(), "migrate", "migrate -v",
                          milliseconds(0)));
}

TEST_CASE("a failing hook stops the phase, one that hangs is ended") {
    const MemoryDir dir;
    const std::string script = dir.file("10-check");
    std::ofstream(script) << "#!/bin/sh\necho \"$EXODUS_HOOK_PHASE not now\"\nexit 3\n";
    REQUIRE(::chmod(script.c_str(), 0700) == 0);
    const HookEvent before{"migrate", "before", "", {}};
    auto stopped = run_hooks(dir.path(), before, milliseconds(2'000), {});
    REQUIRE_FALSE(stopped);
    CHECK(stopped.error().message.find("migrate not now") != std::string::npos);
    std::ofstream(script) << "#!/bin/sh\nexec sleep 60\n";
    auto after =
        run_hooks(dir.path(), HookEvent{"migrate", "after", "done", {}}, milliseconds(100), {});
    REQUIRE(after);
    CHECK(after->at(0).exit_code == 124);
}
