// Hazard: the command that verifies is killed (-9) amid its scan. Run again it must go on where it
// was, not at the start, and end with what an undisturbed verification finds: each kind of planted
// difference in both directions, and nothing else.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "families/redis/journal_text.h"
#include "store/services.h"
#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

namespace {

using Words = std::vector<std::string>;

nlohmann::json data_of(const std::string& out) {
    const auto last = last_result(out);
    INFO(last.dump(1));
    REQUIRE(last.at("numbers").contains("data"));
    return last.at("numbers").at("data");
}

/// "db key" -> kind, of the open differences.
std::map<std::string, std::string> listed(Rig& rig) {
    const auto last = last_result(rig.exodus({"divergences", "list", "--json"}).out);
    std::map<std::string, std::string> out;
    for (const auto& row : last.at("data")) {
        out[row.at("location").get<std::string>() + " " + row.at("key").get<std::string>()] =
            row.at("kind").get<std::string>();
    }
    return out;
}

/// Items done of the first progress line that says how far a verification is.
uint64_t first_done(const std::string& out) {
    for (std::size_t from = 0; from < out.size();) {
        const auto end = std::min(out.find('\n', from), out.size());
        const auto line = nlohmann::json::parse(out.substr(from, end - from), nullptr, false);
        if (line.is_object() && line.value("type", "") == "progress" &&
            line.value("step", "").starts_with("verifying") && line.value("total", 0) > 0)
            return line.value("done", uint64_t{0});
        from = end + 1;
    }
    return 0;
}

constexpr int kKeys = 60'000;

/// Many small keys, so that the scan lasts, and one of each kind that can differ. The connection is
/// closed when it is done: pretest does not want others to use exodus' own user.
void fill_source(Rig& rig) {
    const auto source = own(rig.source());
    for (int i = 0; i < kKeys; ++i) {
        const std::string n = std::to_string(i);
        redisAppendCommand(source.get(), "HSET h:%s f %s g %s", n.c_str(), n.c_str(), n.c_str());
    }
    for (int i = 0; i < kKeys; ++i) {
        void* reply = nullptr;
        REQUIRE(redisGetReply(source.get(), &reply) == REDIS_OK);
        freeReplyObject(reply);
    }
    for (const Words& words : std::vector<Words>{{"SET", "text", "1"},
                                                 {"SET", "expiring", "1", "PXAT", "4000000000000"},
                                                 {"RPUSH", "list", "a", "b"},
                                                 {"XADD", "stream", "5-1", "f", "v"},
                                                 {"XGROUP", "CREATE", "stream", "g", "0"},
                                                 {"SET", "lost", "1"}}) {
        send_command(source.get(), words);
    }
}

/// Its cursor is in the state file, and the scan is not over.
void kill_amid_scan(Rig& rig) {
    Process command({EXODUS_BINARY, "--no-input", "compare", "--mode", "data", "--json"},
                    {.environment = {},
                     .directory = rig.file("."),
                     .output = rig.file("killed.log"),
                     .errors = rig.file("killed.err"),
                     .input = {}});
    const auto journal = open_journal(rig.file("exodus.db"), Rig::kName);
    REQUIRE(journal);
    REQUIRE(eventually(
        milliseconds(60'000),
        [&] {
            const auto cursor = (*journal)->load_position("verify:forward", "cursor");
            return cursor && cursor->has_value();
        },
        milliseconds(1)));
    command.kill();
    CHECK(read_file(rig.file("killed.log")).find("\"type\":\"result\"") == std::string::npos);
}

}  // namespace

TEST_CASE("a verification that is killed amid its scan goes on where it was") {
    Rig rig;
    fill_source(rig);
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    Ledger ledger(load_through(rig));
    ledger.start();
    wait_for_load(ledger, 300);
    rig.bring_to_ready();
    ledger.stop();
    const auto target = own(rig.target());
    for (const Words& words :
         std::vector<Words>{{"SET", "text", "2"},
                            {"PEXPIREAT", "expiring", "4000000000001"},
                            {"LPUSH", "list", "b"},
                            {"RPOP", "list"},
                            {"XREADGROUP", "GROUP", "g", "c", "STREAMS", "stream", ">"},
                            {"DEL", "lost", "h:100"},
                            {"SET", "h:200", "of another type"},
                            {"SELECT", "3"},
                            {"SET", "extra", "1"}}) {
        send_command(target.get(), words);
    }
    const std::map<std::string, std::string> planted{
        {"db0 text", "value"},    {"db0 expiring", "expiry"}, {"db0 list", "order"},
        {"db0 stream", "groups"}, {"db0 lost", "missing"},    {"db0 h:100", "missing"},
        {"db0 h:200", "type"},    {"db3 extra", "extra"}};

    kill_amid_scan(rig);
    const auto resumed = rig.exodus({"compare", "--mode", "data", "--json"});
    const auto after_kill = data_of(resumed.out);
    CHECK(listed(rig) == planted);
    const auto whole = rig.exodus({"compare", "--mode", "data", "--json"});
    INFO("resumed at ", first_done(resumed.out), ", from the start at ", first_done(whole.out));
    CHECK(first_done(whole.out) > 0);
    CHECK(first_done(resumed.out) > first_done(whole.out));
    CHECK(data_of(whole.out) == after_kill);
    CHECK(listed(rig) == planted);
    CHECK(after_kill.at("missing") == 2);
    CHECK(after_kill.at("extra") == 1);
    CHECK(after_kill.at("different") == 5);
    CHECK(after_kill.at("unresolved") == 0);
}

// Hazard: what a killed verification found of one copy is told of the copy that replaced it.
TEST_CASE("compare --restart begins its verification anew behind one that was killed") {
    Rig rig;
    fill_source(rig);
    Ledger ledger(load_through(rig));
    bring_to_analyzed(rig, ledger);
    ledger.stop();
    const auto first = rig.exodus({"compare", "--mode", "data", "--json"});
    CHECK(data_of(first.out).at("missing") == 0);
    const auto target = own(rig.target());
    for (int i = 0; i < 2'000; ++i)
        send_command(target.get(), {"DEL", "h:" + std::to_string(i * 30)});
    kill_amid_scan(rig);
    {  // What is missing is counted at a scan's end only: as if it had been.
        const auto journal = open_journal(rig.file("exodus.db"), Rig::kName);
        REQUIRE(journal);
        const auto text = redis::load_text(**journal, "verify:forward", "cursor");
        REQUIRE(text);
        REQUIRE(text->has_value());
        auto record = nlohmann::json::parse(**text);
        record["missing"] = 7;
        REQUIRE(redis::save_text(**journal, "verify:forward", "cursor", record.dump()));
    }
    const auto restarted = rig.exodus({"compare", "--restart", "--mode", "data", "--json"});
    const auto data = data_of(restarted.out);
    CHECK(data.at("missing") == 0);
    CHECK(data.at("source_keys") == data.at("target_keys"));
    CHECK(data.at("source_keys").get<uint64_t>() >= kKeys);
    CHECK(listed(rig).empty());
}
