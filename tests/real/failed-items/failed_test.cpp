// Hazard: the target refuses single keys. Each must be listed with its reason, exported, keep the
// migration from becoming ready over a restart of the interlay, stay listed when it is driven again
// in vain, and move once the cause is mended; everything else is copied and followed meanwhile.
#include <doctest/doctest.h>

#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

TEST_CASE("keys above the target's proto-max-bulk-len are listed, block ready, and are re-driven") {
    Rig rig;
    fill_server(own(rig.source()).get(), 1'000, 4);
    send_command(own(rig.source()).get(), {"DEL", "big:hash"});  // above 1 MiB as well
    const std::string text = random_text(2 * 1024 * 1024);
    const std::string odd("odd\x00\xff \"key", 10);
    send_command(own(rig.source()).get(), {"SET", odd, text, "PXAT", "4000000000000"});
    Ledger ledger(load_through(rig));
    bring_to_analyzed(rig, ledger);
    // Behind pretest, which would say so.
    rig.target().command({"CONFIG", "SET", "proto-max-bulk-len", "1mb"});
    const std::vector<std::string> migrate{"migrate",     "--until",  "ready",
                                           "--skip-gate", "compare",  "--skip-gate",
                                           "test",        "--reason", "a test of failed items"};
    const auto listed = [&] { return last_result(rig.exodus({"errors", "list", "--json"}).out); };

    const std::string refused = rig.expect(2, migrate);
    CHECK_MESSAGE(refused.find("1 failed") != std::string::npos, refused);
    auto errors = listed();
    REQUIRE(errors.at("total") == 1);
    CHECK(errors.at("items").at(0).at("key") == R"(odd\x00\xff "key)");
    CHECK(errors.at("items").at(0).at("location") == "db0");
    const auto reason = errors.at("items").at(0).at("reason").get<std::string>();
    CHECK_MESSAGE(reason.find("longer than the destination's proto-max-bulk-len of 1048576") !=
                      std::string::npos,
                  reason);
    const std::string exported = rig.expect(2, {"errors", "export"});
    CHECK(nlohmann::json::parse(exported.substr(0, exported.find('\n'))).at("direction") ==
          "forward");

    // The same through the stream; what follows in the same stream still arrives.
    const auto application = connect_to(rig.port());
    send_command(application.get(), {"AUTH", Rig::kUser, Rig::kPassword});
    send_command(application.get(), {"SET", "by:stream", text});
    send_command(application.get(), {"SET", "behind:it", "1"});
    CHECK(eventually(milliseconds(30'000), [&] {
        return rig.target().text({"GET", "behind:it"}) == "1";
    }));
    CHECK(eventually(milliseconds(30'000), [&] { return listed().at("total") == 2; }));

    // Over a restart, and driven again in vain.
    rig.kill_interlay();
    rig.start_interlay();
    wait_for_load(ledger, 100);
    rig.expect(2, migrate);
    rig.expect(0, {"errors", "re-drive"});
    CHECK(eventually(milliseconds(30'000), [&] {
        const auto now = listed();
        return now.at("total") == 2 && now.at("items").at(0).at("attempts") >= 2 &&
               now.at("items").at(1).at("attempts") >= 2;
    }));
    const std::string status = rig.expect(0, {"status"});
    CHECK_MESSAGE(status.find("2 items could not be moved") != std::string::npos, status);

    // The cause is mended.
    rig.target().command({"CONFIG", "SET", "proto-max-bulk-len", "512mb"});
    rig.expect(0, {"errors", "re-drive"});
    CHECK(eventually(milliseconds(30'000), [&] { return listed().at("total") == 0; }));
    rig.expect(0, {"errors", "list"});
    for (const std::string& key : {odd, std::string("by:stream")}) {
        CHECK(rig.target().text({"STRLEN", key}) == std::to_string(text.size()));
        CHECK(rig.target().text({"PEXPIRETIME", key}) == rig.source().text({"PEXPIRETIME", key}));
    }
    rig.expect(0, migrate);
    check_equal(rig, ledger);
    check_ledger(ledger, rig.source());
}
