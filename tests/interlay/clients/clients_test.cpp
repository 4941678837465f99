// Runs clients.mjs against a rig's interlay and performs the switch and the rollback that it asks
// for.
#include <doctest/doctest.h>
#include <unistd.h>

#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

TEST_CASE("client libraries before, across and after a switch and a rollback") {
    Rig rig;
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    Process node({"node", EXODUS_CLIENTS_DIR "/clients.mjs", std::to_string(rig.port()), Rig::kUser,
                  Rig::kPassword, rig.file("")},
                 {.environment = {},
                  .directory = {},
                  .output = rig.file("node.log"),
                  .errors = {},
                  .input = {}});
    const auto wanted = [&](const std::string& name) {
        return eventually(milliseconds(120'000),
                          [&] {
                              return ::access(rig.file(name).c_str(), F_OK) == 0 || !node.running();
                          }) &&
               node.running();
    };
    CHECK(wanted("want-1"));
    if (node.running()) {
        rig.bring_to_ready();
        rig.do_switch();
        write_file(rig.file("done-1"), "");
        CHECK(wanted("want-2"));
        rig.do_rollback();
        write_file(rig.file("done-2"), "");
    }
    const auto code = node.wait(milliseconds(120'000));
    INFO(read_file(rig.file("node.log")));
    CHECK(code.value_or(-1) == 0);
}
