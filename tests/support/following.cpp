#include "tests/support/following.h"

#include <doctest/doctest.h>
#include <sstream>

namespace exodus::test {

namespace {

LedgerOptions load(const Rig& rig, bool reconnect) {
    LedgerOptions options = load_through(rig);
    options.reconnect = reconnect;
    return options;
}

}  // namespace

Following::Following(RigOptions options, bool reconnect)
    : rig(std::move(options)), ledger(load(rig, reconnect)), reconnects(reconnect) {
    fill_server(own(rig.source()).get(), 2'000, 9);
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    ledger.start();
    wait_for_load(ledger, 500);
    rig.bring_to_ready();
}

void Following::check_unaffected() {
    wait_for_load(ledger, 2'000);
    CHECK(ledger.violations() == std::vector<std::string>{});
    CHECK(ledger.summary().errors.empty());
    if (!reconnects) CHECK(ledger.summary().connections_lost == 0);
}

void Following::mirror_everything() {
    rig.expect(0, {"ctl", "mirror=100"});
    CHECK(rig.expect(0, {"status"}).find("mirrored reads") != std::string::npos);
    check_compares();
}

void Following::check_compares() {
    const uint64_t before = traffic(rig, "/commands/GET/equal");
    CHECK(eventually(milliseconds(30'000),
                     [&] { return traffic(rig, "/commands/GET/equal") > before + 50; }));
}

nlohmann::json movement(Rig& rig, const std::string& direction) {
    std::istringstream lines(rig.expect(0, {"status", "--json"}));
    for (std::string line; std::getline(lines, line);) {
        const auto report = nlohmann::json::parse(line, nullptr, false);
        if (report.is_object() && report.contains(direction)) return report[direction];
    }
    return nlohmann::json::object();
}

std::string movement_field(Rig& rig, const std::string& direction, const std::string& field) {
    return movement(rig, direction).value(field, "");
}

uint64_t traffic(Rig& rig, const std::string& pointer) {
    const std::string out = rig.expect(0, {"--json", "ctl", "traffic"});
    const auto line = nlohmann::json::parse(out.substr(0, out.find('\n')));
    return line.at("replies").at(0).at("reply").at(nlohmann::json::json_pointer(pointer));
}

void wait_applied(Rig& rig, Ledger& ledger) {
    ledger.pause(true);
    REQUIRE(eventually(
        milliseconds(180'000),
        [&] {
            const auto now = movement(rig, "forward");
            return now.value("stage", "") == "following" && now.value("lag_bytes", 1) == 0;
        },
        milliseconds(200)));
}

uint64_t key_count(RedisServer& server) {
    uint64_t count = 0;
    std::istringstream lines(server.text({"INFO", "keyspace"}));
    for (std::string line; std::getline(lines, line);) {
        const auto at = line.find("keys=");
        if (at != std::string::npos) count += std::stoull(line.substr(at + 5));
    }
    return count;
}

}  // namespace exodus::test
