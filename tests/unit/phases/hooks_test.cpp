// The operator's scripts around phases: which of them may stop what.
#include <filesystem>
#include <fstream>
#include <sys/stat.h>

#include "drive.h"

using namespace exodus;
using namespace exodus::test;

namespace {

void put_hook(const Stage& stage, const std::string& body) {
    const auto directory =
        std::filesystem::path(stage.settings.state_path).parent_path() / "hooks.d";
    std::filesystem::create_directories(directory);
    const std::string script = directory / "10-hook";
    std::ofstream(script) << "#!/bin/sh\n" << body << "\n";
    REQUIRE(::chmod(script.c_str(), 0700) == 0);
}

std::string told(const Stage& stage) {
    const auto log = std::filesystem::path(stage.settings.state_path).parent_path() / "told";
    std::ifstream in(log);
    return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("a hook that fails stops a phase, but never the way back") {
    Stage stage;
    until_ready(stage);
    EXPECT(approve(stage), 0);
    EXPECT(migrate(stage, MigrateGoal::switched), 0);
    put_hook(stage, "[ \"$1\" = after ] || { echo not now; exit 1; }");
    const PhaseOutcome refused = commit(stage);
    INFO(say(refused));
    CHECK(refused.exit_code != 0);
    CHECK(stage.row().state == S::switched);
    EXPECT(rollback(stage), 0);
    CHECK(stage.row().route.authority == Side::source);
}

TEST_CASE("what was stopped is told, and no name collides with a key of the configuration") {
    Stage stage;
    EXPECT(pretest(stage), 0);
    put_hook(stage,
             "echo \"$1 $2 $EXODUS_HOOK_OUTCOME [$EXODUS_STATE$EXODUS_MIGRATION]\" "
             ">> \"$(dirname \"$0\")/../told\"");
    auto context = stage.context();
    std::stop_source stop;
    context.stop = stop.get_token();
    context.progress = [&](const Progress&) { stop.request_stop(); };
    CHECK(run_analyze(context, {}).exit_code != 0);
    CHECK(told(stage) == "before analyze  []\nafter analyze stopped []\n");
}
