// Whether applications should be sent to an interlay: not while it drains, not when the source
// serves them and is silent for long; the target never counts, whoever has the authority.
#include "telemetry/readiness.h"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "telemetry/limits.h"

using namespace exodus;
using nlohmann::json;

namespace {

constexpr int64_t kSecond_us = 1'000'000;
constexpr int64_t kLong_us = limits::kTelemetryReadySilent_ms * 1000;

json status(const char* authority, const char* silent_side) {
    json out{{"authority", authority}, {"draining", false}, {"traffic", json::object()}};
    for (const char* side : {"source", "target"}) {
        const bool silent = std::string(side) == silent_side;
        out[side]["health"] = {{"reachable", !silent}, {"silent", silent}};
    }
    return out;
}

}  // namespace

TEST_CASE("only a source with the authority counts, and only when it is silent for long") {
    Readiness readiness;
    for (const json& answered : {status("source", ""), status("source", "target"),
                                 status("target", "source"), status("target", "target")}) {
        CAPTURE(answered);
        CHECK(readiness.after(answered, kSecond_us).empty());
        CHECK(readiness.after(answered, 10 * kLong_us).empty());
    }
    const json dead = status("source", "source");
    int64_t now_us = 20 * kLong_us;
    CHECK(readiness.after(dead, now_us).empty());
    CHECK(readiness.after(dead, now_us + kLong_us - 1).empty());
    CHECK(readiness.after(dead, now_us + kLong_us + 2 * kSecond_us) ==
          "the authoritative source has not answered for 12 s");
    // It answers again, and is silent anew.
    now_us += 2 * kLong_us;
    CHECK(readiness.after(status("source", ""), now_us).empty());
    CHECK(readiness.after(dead, now_us + kSecond_us).empty());
}

TEST_CASE("a server that refuses the user of exodus answers: applications have their own") {
    Readiness readiness;
    json refused = status("source", "");
    refused["source"]["health"] = {{"reachable", false}, {"silent", false}};
    CHECK(readiness.after(refused, kSecond_us).empty());
    CHECK(readiness.after(refused, kSecond_us + 2 * kLong_us).empty());
}

TEST_CASE("draining says so at once, loops that do not answer after a while") {
    Readiness readiness;
    json now = status("source", "");
    now["traffic"] = nullptr;
    CHECK(readiness.after(now, kSecond_us).empty());
    CHECK(readiness.after(now, kSecond_us + kLong_us).find("a loop") == 0);
    now["draining"] = true;
    CHECK(readiness.after(now, kSecond_us).find("draining") == 0);
    CHECK(readiness.after(json::object(), kSecond_us).empty());  // nothing was asked
}
