// Hazard: an operator looks at a page that shows the wrong side, or an old state as if it were
// live. Chromium has the dashboard open over a switch, a rollback and a restart of the interlay.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <functional>
#include <unistd.h>

#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

TEST_CASE("the dashboard before, across and behind a switch, a rollback and a restart") {
    const int port = free_port();
    RigOptions options;
    options.config.emplace_back("interlay", fmt::format("http = \"127.0.0.1:{}\"", port));
    Rig rig(options);
    fill_server(own(rig.source()).get(), 2'000, 3);
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    Ledger ledger(load_through(rig));
    ledger.start();
    wait_for_load(ledger, 1'000);
    rig.bring_to_ready();
    Process browser(
        {"node", EXODUS_CLIENTS_DIR "/dashboard.mjs", fmt::format("http://127.0.0.1:{}/", port),
         rig.file(""), EXODUS_CLIENTS_DIR "/pictures"},
        {.environment = {},
         .directory = {},
         .output = rig.file("browser.log"),
         .errors = {},
         .input = {}});
    const std::pair<const char*, std::function<void()>> steps[] = {
        {"switch", [&] { rig.do_switch(); }},
        {"rollback", [&] { rig.do_rollback(); }},
        {"kill", [&] { rig.kill_interlay(); }},
        {"start", [&] { rig.start_interlay(); }}};
    for (const auto& [name, act] : steps) {
        const std::string wanted = rig.file(fmt::format("want-{}", name));
        eventually(milliseconds(60'000),
                   [&] { return ::access(wanted.c_str(), F_OK) == 0 || !browser.running(); });
        if (!browser.running()) break;
        act();
        write_file(rig.file(fmt::format("done-{}", name)), "");
    }
    const auto code = browser.wait(milliseconds(60'000));
    INFO(read_file(rig.file("browser.log")));
    CHECK(code.value_or(-1) == 0);
    ledger.stop();
}
