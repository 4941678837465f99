// The protocol loses no write in any interleaving, and each rule is needed: without it a violation
// is found.
#include <doctest/doctest.h>
#include <iostream>

#include "model.h"

using namespace exodus::model;

namespace {

void print(const char* name, const Found& found) {
    std::cout << name << ": " << found.states << " states, ";
    if (!found.violated) {
        std::cout << "no violation\n";
        return;
    }
    std::cout << "a write is lost in " << found.trace.size() << " steps\n";
    for (const std::string& step : found.trace) std::cout << "    " << step << "\n";
}

}  // namespace

TEST_CASE("hold, a fence that cannot expire, and durable before visible lose no write") {
    const Found found = check(Variant::correct);
    print("correct", found);
    CHECK_FALSE(found.violated);
    CHECK(found.switched);
    CHECK(found.aborted);
    CHECK(found.states > 1'000);
}

TEST_CASE("each rule left out is found broken") {
    for (const auto& broken :
         {std::pair{"leases alone", Variant::leases_alone},
          std::pair{"a fence that times out", Variant::fence_expires},
          std::pair{"published before durable", Variant::visible_before_durable}}) {
        const char* name = broken.first;
        const Found found = check(broken.second);
        print(name, found);
        CAPTURE(name);
        CHECK(found.violated);
        CHECK(found.trace.size() >= 5);
        CHECK(found.trace.size() <= 12);
    }
}
