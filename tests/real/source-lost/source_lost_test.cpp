// Hazard: behind the switch the source dies for good, or comes back empty. Applications notice
// nothing; nothing is filled again unasked; a commit waits for nobody who will not come, says how
// to end, and ends only by a decision that says what is given up.
#include <doctest/doctest.h>

#include "tests/support/following.h"

using namespace exodus;
using namespace exodus::test;

namespace {

constexpr const char* kWithoutProof = "exodus commit --skip-gate commit --reason TEXT";

const std::vector<std::string> kCommit{"commit", "--confirm", Rig::kName, "--reason",
                                       "the source burnt down"};

std::vector<std::string> skipping() {
    std::vector<std::string> words = kCommit;
    words.insert(words.end(), {"--skip-gate", "commit"});
    return words;
}

nlohmann::json status_of(Rig& rig) { return last_result(rig.expect(0, {"status", "--json"})); }

void check_committed(Following& f, const std::string& said) {
    CHECK(said.find("given up") != std::string::npos);
    CHECK(said.find("the final verify") != std::string::npos);
    const auto status = status_of(f.rig);
    CHECK(status.at("state") == "committed");
    CHECK(status.at("authority") == "target");
    // Who decided, and why, stays to be read.
    const std::string history = f.rig.expect(0, {"status", "--history"});
    CHECK(history.find("skip commit") != std::string::npos);
    CHECK(history.find("the source burnt down") != std::string::npos);
    f.check_unaffected();
}

}  // namespace

TEST_CASE("a source that is killed behind the switch and stays away") {
    Following f({});
    f.rig.do_switch();
    wait_for_load(f.ledger, 500);
    // Before anything is lost the decision gives nothing up that a commit would not prove; while
    // the source is the authority there is nothing to decide.
    f.rig.source().kill();
    f.check_unaffected();
    const auto status = status_of(f.rig);
    CHECK(status.at("next").at(0) == "exodus status --watch");
    CHECK(status.at("next").at(1) == kWithoutProof);
    CHECK(status.at("explained") == "no way back while the source does not answer");
    const RunResult refused = f.rig.exodus(kCommit);
    INFO(refused.out, refused.err);
    CHECK(refused.code == 69);
    CHECK((refused.out + refused.err).find(kWithoutProof) != std::string::npos);
    CHECK(status_of(f.rig).at("state") == "switched");
    // A decision needs its reason and the typed name.
    f.rig.expect(64, {"commit", "--confirm", Rig::kName, "--skip-gate", "commit"});
    f.rig.expect(4, {"commit", "--skip-gate", "commit", "--reason", "the source burnt down"});
    CHECK(status_of(f.rig).at("state") == "switched");
    const std::string said = f.rig.expect(0, skipping());
    INFO(said);
    CHECK(said.find("it does not answer") != std::string::npos);
    CHECK(said.find("the clean-up of the source") != std::string::npos);
    check_committed(f, said);
    f.rig.expect(0, skipping());  // again: its goal holds
    CHECK(key_count(f.rig.target()) > 0);
    CHECK(f.rig.target().text({"EVAL", "return #redis.call('KEYS', 'exodus:*')", "0"}) == "0");
    check_ledger(f.ledger, f.rig.target());
}

TEST_CASE("a source that comes back empty behind the switch") {
    Following f({}, true);
    f.rig.do_switch();
    wait_for_load(f.ledger, 500);
    f.rig.source().kill();
    f.rig.source().start();
    f.rig.source().login(Rig::kOwnUser, Rig::kOwnPassword);
    const auto found_lost = [&] {
        return eventually(
            milliseconds(20'000),
            [&] {
                return movement_field(f.rig, "reverse", "blocked").find("source lost its data") !=
                       std::string::npos;
            },
            milliseconds(200));
    };
    REQUIRE(found_lost());
    const std::string blocked = movement_field(f.rig, "reverse", "blocked");
    CHECK_MESSAGE(blocked.find(kWithoutProof) != std::string::npos, blocked);
    CHECK(status_of(f.rig).at("next") == nlohmann::json{"exodus events", kWithoutProof});
    const RunResult refused = f.rig.exodus(kCommit);
    INFO(refused.out, refused.err);
    CHECK(refused.code == 5);
    CHECK((refused.out + refused.err).find(kWithoutProof) != std::string::npos);
    f.rig.kill_interlay();  // nor does another process fill it
    f.rig.start_interlay();
    REQUIRE(found_lost());
    CHECK(key_count(f.rig.source()) == 0);
    const std::string said = f.rig.expect(0, skipping());
    INFO(said);
    CHECK(said.find("the reverse stream is blocked") != std::string::npos);
    check_committed(f, said);
    CHECK(key_count(f.rig.source()) == 0);
    check_ledger(f.ledger, f.rig.target());
}

TEST_CASE("before the switch no commit is decided without proof") {
    Following f({});
    f.rig.expect(3, skipping());
    CHECK(f.rig.authority() == "source");
    check_ledger(f.ledger, f.rig.source());
}
