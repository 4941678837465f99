// Which differences of FUNCTION libraries are one.
#include "families/redis/functions.h"

#include <doctest/doctest.h>

using namespace exodus;
using namespace exodus::redis;

namespace {

Libraries with(std::initializer_list<std::pair<const char*, const char*>> list) {
    Libraries out;
    for (const auto& [name, code] : list) out[name] = Library{code, {}};
    return out;
}

std::string told(const LibraryComparison& compared) {
    std::string text;
    for (const auto& row : compared.differences) text += row.key + " " + row.kind + "; ";
    return text + std::to_string(compared.kept) + " kept";
}

}  // namespace

TEST_CASE("libraries: missing, extra and changed ones, by direction and policy") {
    const Libraries source = with({{"a", "1"}, {"b", "1"}, {"source", "1"}});
    const Libraries target = with({{"a", "1"}, {"b", "2"}, {"target", "1"}});
    LibraryRules rules;
    CHECK(told(compare_libraries(source, target, rules)) == "b code; source missing; 1 kept");
    rules.kept = {"b"};
    CHECK(told(compare_libraries(source, target, rules)) == "source missing; 2 kept");
    rules.authority_wins = true;
    CHECK(told(compare_libraries(source, target, rules)) == "source missing; target extra; 1 kept");
    rules = LibraryRules{Direction::reverse, {}, {}, false};
    CHECK(told(compare_libraries(target, source, rules)) == "b code; source extra; 1 kept");
    rules.shared = {"target"};
    CHECK(told(compare_libraries(target, source, rules)) ==
          "b code; source extra; target missing; 0 kept");
    CHECK(compare_libraries(target, source, rules).differences.at(0).detail.find("authority: ") !=
          std::string::npos);
}
