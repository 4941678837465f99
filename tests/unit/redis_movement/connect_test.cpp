// Hazard: a server says why it refuses and closes: the operator must read what it said. One that
// refuses half of what a reader needs must not count as connected.
#include <algorithm>
#include <doctest/doctest.h>

#include "families/redis/pair_reader.h"
#include "tests/unit/redis_ops/support.h"

using namespace exodus;
using namespace exodus::test;

namespace {

/// Answers `said`, whatever it is asked, then is gone.
class Closing final : public Dialer {
  public:
    explicit Closing(std::string said) : said_(std::move(said)) {}
    Result<std::unique_ptr<ByteStream>> dial(const Endpoint&, milliseconds) override {
        return std::unique_ptr<ByteStream>(std::make_unique<Stream>(said_));
    }

  private:
    class Stream final : public ByteStream {
      public:
        explicit Stream(std::string said) : said_(std::move(said)) {}
        Result<std::size_t> read(std::span<char> buffer, Deadline) override {
            if (said_.empty()) return fail(ErrorCode::unreachable, "connection closed");
            const std::size_t size = std::min(buffer.size(), said_.size());
            std::copy_n(said_.begin(), size, buffer.begin());
            said_.erase(0, size);
            return size;
        }
        Status write(std::string_view, Deadline) override { return {}; }
        void shutdown() override {}

      private:
        std::string said_;
    };
    std::string said_;
};

Error refused(const std::string& said, const std::string& password) {
    Closing dialer(said);
    auto client =
        redis::Client::connect(dialer, endpoint_of(Side::source, 1, {}, password), {.name = "n"});
    REQUIRE_FALSE(client);
    return client.error();
}

}  // namespace

TEST_CASE("a login that is refused says why, also when the server closes behind it") {
    const Error wrong = refused("-WRONGPASS invalid password\r\n", "secret");
    CHECK(wrong.code == ErrorCode::permission);
    CHECK(wrong.message.find("WRONGPASS") != std::string::npos);
    const Error needed = refused("-NOAUTH Authentication required.\r\n", "");
    CHECK(needed.code == ErrorCode::permission);
    CHECK(needed.message.find("NOAUTH") != std::string::npos);
    CHECK(refused("", "secret").code == ErrorCode::unreachable);
}

TEST_CASE("a side that refuses INFO is no side that can be read, however often it is asked") {
    Closing dialer("+OK\r\n-NOPERM\r\n-NOPERM\r\n-NOPERM no right to INFO\r\n");
    Settings settings;
    settings.source = endpoint_of(Side::source, 1);
    settings.target = endpoint_of(Side::target, 2);
    MemoryJournal journal;
    const FamilyContext context{settings, dialer, journal, "/tmp"};
    redis::PairReader pair(context, Side::source, {});
    for (int i = 0; i < 2; ++i) {
        const Status connected = pair.connect();
        REQUIRE_FALSE(connected);
        CHECK(connected.error().message.find("no right to INFO") != std::string::npos);
        CHECK(connected.error().message.find("source") != std::string::npos);  // not the other one
    }
}
