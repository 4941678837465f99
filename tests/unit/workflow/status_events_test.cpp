// Statuses in, events out: what is told, when, how often, and what is not.
#include "workflow/status_events.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <functional>
#include <map>
#include <set>

using namespace exodus;
using nlohmann::json;

namespace {

json healthy() {
    return json::parse(R"({
        "state": "following", "authority": "source", "serves": {"held": false},
        "source": {"address": "a:1", "health": {"reachable": true, "role": "master",
            "latency_us": 500, "memory_used_bytes": 1073741824, "memory_max_bytes": 4294967296,
            "replica_lag_bytes": 0, "error": ""}},
        "target": {"address": "b:2", "health": {"reachable": true, "role": "master",
            "latency_us": 500, "memory_used_bytes": 1073741824, "memory_max_bytes": 4294967296,
            "replica_lag_bytes": 0, "error": ""}},
        "forward": {"stage": "following", "lag_ms": 20, "queue_bytes": 0,
            "queue_max_bytes": 104857600, "items_done": 1000, "items_total_estimate": 1000,
            "items_per_s": 0, "failed_items": 0, "throttled": ""},
        "reverse": {"stage": "standby", "lag_ms": null, "queue_bytes": 0,
            "queue_max_bytes": 104857600, "items_done": 0, "items_total_estimate": 0,
            "items_per_s": 0, "failed_items": 0, "throttled": ""},
        "way_back_open": true, "way_back_loses": "", "config_changed": "",
        "divergences": {"total": 0, "unresolved": 0},
        "traffic": {"requests": 0, "errors": 0, "shadow_dropped": 0, "comparator_dropped": 0,
            "protocol_errors": {},
            "source": {"count": 5000, "p99_us": 400}, "target": {"count": 5000, "p99_us": 500}}
    })");
}

/// Seconds go by; the status is what the test made of it.
struct Clock {
    StatusEvents events{200};
    json status = healthy();
    int64_t second = 1'000;
    std::vector<NewEvent> told;

    Clock() { pass(1); }
    void pass(int seconds) {
        for (int i = 0; i < seconds; ++i) {
            for (NewEvent& event : events.after(status, second * 1'000'000))
                told.push_back(std::move(event));
            ++second;
        }
    }
    json& at(const char* path) { return status[json::json_pointer(path)]; }
    /// "warn endpoint.down", in order; forgets them.
    std::vector<std::string> take() {
        std::vector<std::string> out;
        for (const NewEvent& event : told) out.push_back(event.severity + " " + event.code);
        told.clear();
        return out;
    }
};

using Codes = std::vector<std::string>;

}  // namespace

TEST_CASE("a condition is told when it has lasted, and its end when that has") {
    struct Case {
        const char* what;
        std::function<void(Clock&)> worse;
        int lasts_s;  ///< one second less: nothing
        const char* told;
        std::function<void(Clock&)> better;
        int over_s;
        const char* over;
    };
    const Case cases[] = {
        {"the target is away", [](Clock& c) { c.at("/target/health/reachable") = false; }, 3,
         "warn endpoint.down", [](Clock& c) { c.at("/target/health/reachable") = true; }, 3,
         "info endpoint.down-over"},
        {"the authority is away", [](Clock& c) { c.at("/source/health/reachable") = false; }, 3,
         "critical endpoint.down", [](Clock& c) { c.at("/source/health/reachable") = true; }, 3,
         "info endpoint.down-over"},
        {"a source of yesterday is away",
         [](Clock& c) {
             c.at("/state") = "committed";
             c.at("/authority") = "target";
             c.at("/source/health/reachable") = false;
         },
         3, "info endpoint.down", [](Clock& c) { c.at("/source/health/reachable") = true; }, 3,
         "info endpoint.down-over"},
        {"a fail-over", [](Clock& c) { c.at("/source/health/role") = "replica"; }, 3,
         "critical endpoint.role", [](Clock& c) { c.at("/source/health/role") = "master"; }, 3,
         "info endpoint.role-over"},
        {"a slow probe", [](Clock& c) { c.at("/target/health/latency_us") = 150'000; }, 30,
         "warn endpoint.slow", [](Clock& c) { c.at("/target/health/latency_us") = 900; }, 30,
         "info endpoint.slow-over"},
        {"memory", [](Clock& c) { c.at("/target/health/memory_used_bytes") = 3'950'000'000; }, 3,
         "warn endpoint.memory",
         [](Clock& c) { c.at("/target/health/memory_used_bytes") = 3'000'000'000; }, 10,
         "info endpoint.memory-over"},
        {"own replicas", [](Clock& c) { c.at("/source/health/replica_lag_bytes") = 40 << 20; }, 10,
         "warn endpoint.replica-lag",
         [](Clock& c) { c.at("/source/health/replica_lag_bytes") = 0; }, 10,
         "info endpoint.replica-lag-over"},
        {"lag", [](Clock& c) { c.at("/forward/lag_ms") = 1'001; }, 10, "warn stream.lag",
         [](Clock& c) { c.at("/forward/lag_ms") = 399; }, 10, "info stream.lag-over"},
        {"throttle", [](Clock& c) { c.at("/forward/throttled") = "bytes_per_s"; }, 3,
         "info throttle.began", [](Clock& c) { c.at("/forward/throttled") = ""; }, 10,
         "info throttle.ended"},
        {"half a queue", [](Clock& c) { c.at("/forward/queue_bytes") = 60 << 20; }, 0,
         "warn queue.half", [](Clock& c) { c.at("/forward/queue_bytes") = 0; }, 10,
         "info queue.half-over"},
        {"no way back",
         [](Clock& c) {
             c.at("/authority") = "target";
             c.at("/way_back_open") = false;
             c.at("/way_back_loses") = "the last 3 s";
         },
         5, "critical way-back.closed", [](Clock& c) { c.at("/way_back_open") = true; }, 3,
         "info way-back.open"},
        {"not yet proven", [](Clock& c) { c.at("/way_back_open") = false; }, 5,
         "warn way-back.closed", [](Clock& c) { c.at("/way_back_open") = true; }, 3,
         "info way-back.open"},
        {"another configuration", [](Clock& c) { c.at("/config_changed") = "read another"; }, 1,
         "warn config.changed", [](Clock& c) { c.at("/config_changed") = ""; }, 1,
         "info config.changed-over"},
        {"a slow target", [](Clock& c) { c.at("/traffic/target/p99_us") = 1'500; }, 10,
         "warn latency.target", [](Clock& c) { c.at("/traffic/target/p99_us") = 450; }, 10,
         "info latency.target-over"},
        {"no more mirrored requests", [](Clock& c) { c.at("/traffic/target/p99_us") = 1'500; }, 10,
         "warn latency.target",
         [](Clock& c) {
             c.at("/traffic/target") = {{"count", 0}, {"p99_us", nullptr}};
         },
         10, "info latency.target-over"},
    };
    for (const Case& one : cases) {
        CAPTURE(one.what);
        Clock clock;
        one.worse(clock);
        clock.pass(one.lasts_s);
        CHECK(clock.take() == Codes{});
        clock.pass(1);
        CHECK(clock.take() == Codes{one.told});
        clock.pass(120);
        CHECK(clock.take() == Codes{});  // once
        one.better(clock);
        clock.pass(one.over_s);
        CHECK(clock.take() == Codes{});
        clock.pass(1);
        CHECK(clock.take() == Codes{one.over});
        clock.pass(120);
        CHECK(clock.take() == Codes{});
    }
}

TEST_CASE("between the two limits nothing changes") {
    Clock clock;
    clock.at("/forward/lag_ms") = 900;  // five times 200 ms is the upper one
    clock.at("/forward/queue_bytes") = 45 << 20;
    clock.at("/target/health/memory_used_bytes") = 3'760'000'000;
    clock.at("/traffic/target/p99_us") = 1'390;  // no millisecond more
    clock.pass(60);
    CHECK(clock.take() == Codes{});
    clock.at("/forward/lag_ms") = 5'000;
    clock.pass(11);
    CHECK(clock.take() == Codes{"warn stream.lag"});
    clock.at("/forward/lag_ms") = 900;
    clock.pass(60);
    CHECK(clock.take() == Codes{});
}

TEST_CASE("what flickers is told at most every ten seconds, and what was told last is true") {
    Clock clock;
    for (int i = 0; i < 30; ++i) {
        clock.at("/forward/queue_bytes") = i % 2 == 0 ? 60 << 20 : 0;
        clock.pass(1);
    }
    CHECK(clock.take() == Codes{"warn queue.half"});  // the end never lasted
    clock.at("/target/health/reachable") = true;
    std::map<std::string, int64_t> last;
    std::set<std::string> codes;
    for (int i = 0; i < 100; ++i) {
        clock.at("/target/health/reachable") = i / 4 % 2 != 0;
        clock.pass(1);
        for (const NewEvent& event : clock.told) {
            if (last.contains(event.code)) CHECK(clock.second - last[event.code] >= 10);
            last[event.code] = clock.second;
            codes.insert(event.code);
        }
        clock.told.clear();
    }
    CHECK(codes.contains("endpoint.down"));
    CHECK(codes.contains("endpoint.down-over"));
    clock.at("/target/health/reachable") = false;
    clock.pass(30);
    clock.told.clear();
    clock.at("/target/health/reachable") = true;
    clock.pass(30);
    CHECK(clock.take() == Codes{"info endpoint.down-over"});
}

TEST_CASE("both sides at once are two events, with the side in the data") {
    Clock clock;
    clock.at("/source/health/reachable") = false;
    clock.at("/source/health/error") = "connection refused";
    clock.at("/target/health/reachable") = false;
    clock.pass(4);
    REQUIRE(clock.told.size() == 2);
    CHECK(clock.told[0].text == "source a:1 does not answer: connection refused");
    CHECK(json::parse(clock.told[0].data) == json{{"about", "source"}});
    CHECK(json::parse(clock.told[1].data) == json{{"about", "target"}});
}

TEST_CASE("a queue that fills is told at half and at four fifths") {
    Clock clock;
    for (int i = 0; i < 100; ++i) {
        clock.at("/forward/queue_bytes") = i << 20;
        clock.pass(1);
    }
    CHECK(clock.take() == Codes{"warn queue.half", "critical queue.nearly-full"});
    clock.at("/forward/queue_bytes") = 0;
    clock.pass(20);
    CHECK(clock.take() == Codes{"info queue.half-over", "info queue.nearly-full-over"});
}

TEST_CASE("a copy is told at each tenth, a fast one less often") {
    Clock clock;
    clock.at("/forward/stage") = "filling";
    clock.at("/forward/items_total_estimate") = 1'000;
    for (int i = 0; i <= 1'000; i += 5) {  // 200 s
        clock.at("/forward/items_done") = i;
        clock.pass(1);
    }
    CHECK(clock.take() == Codes(9, "info copy.progress"));
    clock.at("/forward/items_done") = 0;  // anew
    clock.pass(20);
    for (int i = 0; i <= 1'000; i += 50) {  // 20 s
        clock.at("/forward/items_done") = i;
        clock.pass(1);
    }
    CHECK(clock.take().size() <= 3);
    clock.at("/forward/stage") = "following";
    clock.pass(60);
    CHECK(clock.take() == Codes{});
}

TEST_CASE("counts are told when they begin and each time they have doubled") {
    for (const auto& counter :
         {std::pair<const char*, std::string>{"/divergences/total", "divergence.confirmed"},
          {"/divergences/unresolved", "divergence.unresolved"},
          {"/traffic/shadow_dropped", "shadow.dropped"},
          {"/traffic/comparator_dropped", "comparator.dropped"},
          {"/traffic/protocol_errors/junk", "parser.errors"}}) {
        const auto& path = counter.first;
        const auto& code = counter.second;
        CAPTURE(code);
        Clock clock;
        for (uint64_t i = 0; i <= 64; ++i) {
            clock.at(path) = i;
            clock.pass(10);
        }
        CHECK(clock.take() == Codes(7, "warn " + code));  // 1 2 4 8 16 32 64
        clock.at(path) = 10'000'000;                      // all at once
        clock.pass(60);
        CHECK(clock.take() == Codes{"warn " + code});
    }
}

TEST_CASE("counting anew is news again; what was there before this process is none") {
    Clock clock;
    clock.at("/divergences/total") = 100;
    clock.pass(20);
    clock.told.clear();
    clock.at("/divergences/total") = 3;  // another compare
    clock.pass(20);
    CHECK(clock.take() == Codes{"warn divergence.confirmed"});
    Clock old;
    old.events = StatusEvents(200);
    old.at("/divergences/total") = 100;
    old.at("/forward/failed_items") = 7;
    old.pass(20);
    CHECK(old.take() == Codes{});
}

TEST_CASE("failed items are told as they grow, at most once a minute") {
    Clock clock;
    for (int i = 1; i <= 120; ++i) {
        clock.at("/forward/failed_items") = i;
        clock.pass(1);
    }
    CHECK(clock.take() == Codes(2, "warn items.failed"));
    clock.at("/forward/failed_items") = 0;  // moved after all
    clock.pass(100);
    CHECK(clock.take() == Codes{});
}

TEST_CASE("a share of errors, over windows of ten seconds") {
    Clock clock;
    const auto run = [&](int seconds, uint64_t requests, uint64_t errors) {
        for (int i = 0; i < seconds; ++i) {
            clock.at("/traffic/requests") =
                clock.at("/traffic/requests").get<uint64_t>() + requests;
            clock.at("/traffic/errors") = clock.at("/traffic/errors").get<uint64_t>() + errors;
            clock.pass(1);
        }
    };
    run(60, 1'000, 0);
    run(60, 10, 0);
    CHECK(clock.take() == Codes{});
    run(30, 1'000, 20);
    CHECK(clock.take() == Codes{"warn traffic.errors"});
    run(30, 1'000, 0);
    CHECK(clock.take() == Codes{"info traffic.errors-over"});
    run(30, 0, 0);
    CHECK(clock.take() == Codes{});
}

TEST_CASE("nothing is told while writes are held, and what still holds behind it is") {
    Clock clock;
    clock.at("/serves/held") = true;
    clock.at("/target/health/reachable") = false;
    clock.at("/forward/queue_bytes") = 90 << 20;
    clock.pass(30);
    CHECK(clock.take() == Codes{});
    clock.at("/serves/held") = false;
    clock.pass(5);
    const Codes told = clock.take();
    CHECK(std::set<std::string>(told.begin(), told.end()) ==
          std::set<std::string>{"warn endpoint.down", "warn queue.half",
                                "critical queue.nearly-full"});
}

TEST_CASE("a status that lacks parts, or is of another kind, tells nothing") {
    for (const char* part : {"source", "target", "forward", "reverse", "traffic", "divergences",
                             "way_back_open", "serves", "state", "authority"}) {
        CAPTURE(part);
        Clock without;
        without.status.erase(part);
        without.pass(60);
        CHECK(without.take() == Codes{});
        Clock null;
        null.status[part] = nullptr;
        null.pass(60);
        CHECK(null.take() == Codes{});
        Clock odd;
        odd.status[part] = "text";
        odd.pass(60);
        CHECK(odd.take() == Codes{});
    }
    Clock unprobed;
    unprobed.at("/source/health") = nullptr;
    unprobed.at("/target/health") = nullptr;
    unprobed.pass(60);
    CHECK(unprobed.take() == Codes{});
}

namespace {

/// What another process told, as the next one reads it: the newest of each code and subject.
std::vector<EventRow> left_by(const Clock& before) {
    std::map<std::string, EventRow> last;
    int64_t id = 0;
    for (const NewEvent& event : before.told)
        last[event.code + event.data] = {++id,       0,          event.severity,
                                         event.code, event.text, event.data};
    std::vector<EventRow> out;
    for (auto& [key, row] : last) out.push_back(row);
    std::sort(out.begin(), out.end(),
              [](const EventRow& a, const EventRow& b) { return a.id < b.id; });
    return out;
}

/// The process that comes after; its first status is what `change` makes of a healthy one.
Clock after(const Clock& before, const std::function<void(Clock&)>& change) {
    Clock next;
    next.events = StatusEvents(200);
    next.events.go_on(left_by(before));
    change(next);
    return next;
}

}  // namespace

TEST_CASE("a successor tells nothing again, and tells the end of what its predecessor told") {
    const auto worse = [](Clock& c) {
        c.at("/target/health/reachable") = false;
        c.at("/source/health/role") = "replica";
        c.at("/forward/lag_ms") = 5'000;
        c.at("/forward/queue_bytes") = 90 << 20;
        c.at("/reverse/throttled") = "bytes_per_s";
        c.at("/way_back_open") = false;
        c.at("/config_changed") = "another configuration";
    };
    Clock first;
    worse(first);
    first.pass(30);
    const std::size_t told = first.told.size();
    REQUIRE(told == 8);
    Clock same = after(first, worse);
    same.pass(60);
    CHECK(same.take() == Codes{});
    Clock well = after(first, [](Clock&) {});
    well.pass(60);
    const Codes over = well.take();
    CHECK(std::set<std::string>(over.begin(), over.end()) ==
          std::set<std::string>{"info endpoint.down-over", "info endpoint.role-over",
                                "info stream.lag-over", "info queue.half-over",
                                "info queue.nearly-full-over", "info throttle.ended",
                                "info way-back.open", "info config.changed-over"});
    CHECK(over.size() == told);
    // And what it told as over is news when it comes again.
    first.status = healthy();
    first.pass(60);
    CHECK(first.told.size() == 2 * told);
    Clock again = after(first, worse);
    again.pass(60);
    CHECK(again.take().size() == told);
}

TEST_CASE("a successor knows the role that an endpoint had first") {
    Clock first;
    first.at("/source/health/role") = "replica";
    first.pass(10);
    REQUIRE(first.told.size() == 1);
    CHECK(json::parse(first.told[0].data) == json{{"about", "source"}, {"first", "master"}});
    Clock next = after(first, [](Clock& c) { c.at("/source/health/role") = "replica"; });
    next.pass(30);
    CHECK(next.told.empty());
    next.at("/source/health/role") = "master";
    next.pass(30);
    REQUIRE(next.told.size() == 1);
    CHECK(next.told[0].text == "source a:1 is master again");
    // An older exodus did not write it: then nothing is known.
    first.told[0].data = R"({"about":"source"})";
    Clock unknown = after(first, [](Clock& c) { c.at("/source/health/role") = "replica"; });
    unknown.pass(30);
    CHECK(unknown.told.empty());
}

TEST_CASE("events that are none of its own, or broken, do not keep a successor from telling") {
    Clock next;
    next.events = StatusEvents(200);
    next.events.go_on({{1, 0, "warn", "mover.degraded", "", R"({"about":"target"})"},
                       {2, 0, "warn", "endpoint.down", "", "no JSON"},
                       {3, 0, "warn", "endpoint.down", "", R"({"about":7})"}});
    next.at("/target/health/reachable") = false;
    next.pass(10);
    CHECK(next.take() == Codes{"warn endpoint.down"});
}
