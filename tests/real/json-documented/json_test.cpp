// Hazard: a script reads a field that nobody promised, or misses one that the manual promises.
// Every field that a whole migration prints with --json must stand in exodus-json(7).
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;
using nlohmann::json;

namespace {

/// Objects below these are keyed by names of the data or are the family's own reports.
const std::set<std::string> kOpen{"commands",     "profile",        "plan",  "series",
                                  "steps_us",     "classes",        "reply", "extra",
                                  "findings",     "not_comparable", "data",  "latency_us",
                                  "observations", "pipeline_depth"};

/// The words that stand in bold in the page.
std::set<std::string> documented() {
    const std::string page = read_file(std::string(EXODUS_SOURCE_DIR) + "/man/exodus-json.7");
    std::set<std::string> words;
    constexpr std::string_view kBold = "\\fB";
    for (auto at = page.find(kBold); at != std::string::npos; at = page.find(kBold, at)) {
        at += kBold.size();
        words.insert(page.substr(at, page.find("\\fR", at) - at));
    }
    return words;
}

void note_fields(const json& value, std::set<std::string>& fields) {
    if (value.is_array()) {
        for (const json& one : value) note_fields(one, fields);
    } else if (value.is_object()) {
        for (const auto& [name, inner] : value.items()) {
            fields.insert(name);
            if (!kOpen.contains(name)) note_fields(inner, fields);
        }
    }
}

}  // namespace

TEST_CASE("every field of --json stands in exodus-json(7)") {
    RigOptions options;
    options.config = {{"compare", "budget = 0.05"}, {"gates", "compare_samples_min = 300"}};
    Rig rig(options);
    fill_server(own(rig.source()).get(), 500, 3);
    std::set<std::string> fields;
    const auto exodus_json = [&](int code, std::vector<std::string> words) {
        words.insert(words.begin(), "--json");
        std::istringstream lines(rig.expect(code, words));
        std::string last;
        for (std::string line; std::getline(lines, line);) {
            const json object = json::parse(line, nullptr, false);
            INFO(line);
            REQUIRE(object.is_object());
            note_fields(object, fields);
            last = object.value("type", "");
        }
        CHECK(last == "result");
    };
    const std::string reason = "a test of the fields";
    exodus_json(0, {"init", "redis"});
    exodus_json(0, {"config", "check"});
    exodus_json(0, {"config", "show"});
    rig.start_interlay();
    Ledger ledger(load_through(rig));
    ledger.start();
    wait_for_load(ledger, 500);
    exodus_json(0, {"pretest", "--ack", "tap,redis.backlog,redis.spool-room", "--reason", reason});
    exodus_json(0, {"analyze"});
    write_file(rig.file("smoke.txt"), "PING => PONG\n");
    exodus_json(0, {"compare"});
    // Without the crash drills the gate stays shut.
    exodus_json(2, {"test", "--smoke", rig.file("smoke.txt"), "--drill", "switch,rollback"});
    exodus_json(0, {"migrate", "--until", "ready", "--skip-gate", "test", "--reason", reason});
    exodus_json(0, {"approve", "switch", "--reason", reason});
    exodus_json(0, {"migrate", "--switch", "--confirm", Rig::kName, "--reason", reason});
    exodus_json(0, {"status", "--history", "--workers", "--gates"});
    exodus_json(0, {"divergences", "list"});
    exodus_json(0, {"errors", "list"});
    exodus_json(0, {"events"});
    exodus_json(0, {"ctl", "traffic"});
    exodus_json(0, {"rollback", "--confirm", Rig::kName, "--reason", reason});
    exodus_json(3, {"commit", "--confirm", Rig::kName, "--reason", reason});
    ledger.stop();
    const std::set<std::string> known = documented();
    for (const std::string& field : fields) {
        CAPTURE(field);
        CHECK(known.contains(field));
    }
    CHECK(fields.size() > 80);
}
