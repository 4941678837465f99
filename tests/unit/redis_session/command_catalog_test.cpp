// The catalog of commands: snapshots that workers hold, and when servers are asked again.
#include "families/redis/command_catalog.h"

#include <atomic>
#include <doctest/doctest.h>

#include "tests/support/process.h"

using namespace exodus;
using namespace exodus::redis;

namespace {

resp::CommandFacts fact(const std::string& name, uint32_t flags) {
    resp::CommandFacts out;
    out.name = name;
    out.arity = 2;
    out.flags = flags;
    return out;
}

const resp::CommandRow& row_of(CommandView& view, std::string_view name) {
    const std::string_view arguments[] = {name, "k"};
    return view.classify(arguments);
}

}  // namespace

TEST_CASE("servers are asked at the start, for a name not seen before, and after a loss") {
    CommandCatalog catalog;
    CommandView view(catalog);
    std::atomic<int> asked{0};
    std::atomic<bool> newer{false};
    std::atomic<bool> down{true};
    catalog.start([&](Side side) -> Result<std::vector<resp::CommandFacts>> {
        ++asked;
        if (down) return fail(ErrorCode::unreachable, "down");
        std::vector<resp::CommandFacts> facts{fact("MOD.READ", resp::flag::kReadonly)};
        if (newer && side == Side::target) facts.push_back(fact("MOD.NEW", resp::flag::kWrite));
        return facts;
    });
    // A server that is down is asked again until it answers.
    CHECK(test::eventually(milliseconds(20'000), [&] { return asked >= 4; }));
    CHECK_FALSE(row_of(view, "mod.read").known);
    down = false;
    CHECK(test::eventually(milliseconds(20'000), [&] { return row_of(view, "mod.read").known; }));
    const resp::CommandRow& held = row_of(view, "MOD.READ");
    CHECK(held.effect == resp::Effect::read);
    const uint16_t id = held.id;

    newer = true;
    catalog.ask(Side::target);
    CHECK(test::eventually(milliseconds(20'000), [&] { return row_of(view, "MOD.NEW").known; }));
    CHECK(row_of(view, "MOD.NEW").writes());
    // Rows of an older snapshot stay what and where they were.
    CHECK(&row_of(view, "MOD.READ") == &held);
    CHECK(held.id == id);
    CHECK(view.unknown().count("mod.read") == 1);
}

TEST_CASE("a command that writes on one side is a write") {
    CommandCatalog catalog;
    CommandView view(catalog);
    catalog.lay({fact("MOD.X", resp::flag::kReadonly)});
    CHECK_FALSE(row_of(view, "MOD.X").writes());
    const uint64_t before = catalog.version();
    catalog.lay({fact("MOD.X", resp::flag::kReadonly)});
    CHECK(catalog.version() == before);
    catalog.lay({fact("MOD.X", resp::flag::kWrite)});
    CHECK(row_of(view, "MOD.X").writes());
    catalog.lay({fact("MOD.X", resp::flag::kReadonly)});
    CHECK(row_of(view, "MOD.X").writes());
}

TEST_CASE("names that nobody knows are kept, bounded and printable") {
    CommandCatalog catalog;
    CommandView view(catalog);
    for (int i = 0; i < 100; ++i) row_of(view, "N" + std::to_string(i));
    CHECK(view.unknown().size() == 32);
    CommandCatalog fresh;
    CommandView other(fresh);
    row_of(other, std::string("A\r\n\0B", 5));
    row_of(other, std::string(1000, 'x'));
    CHECK(other.unknown().count("A???B") == 1);
    CHECK(other.unknown().begin()->first.size() <= 32);
}
