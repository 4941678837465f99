// Hazard: a server too old for what the movement sends passes every check, and the copy never
// begins.
#include <algorithm>
#include <doctest/doctest.h>

#include "families/redis/inspector.h"
#include "families/redis/stream_command.h"
#include "tests/unit/redis_ops/support.h"

using namespace exodus;
using namespace exodus::test;

namespace {

/// Servers of these versions: they answer INFO and PING, and OK to the rest.
class Versions final : public Dialer {
  public:
    Versions(std::string source, std::string target)
        : source_(std::move(source)), target_(std::move(target)) {}
    Result<std::unique_ptr<ByteStream>> dial(const Endpoint& endpoint, milliseconds) override {
        return std::unique_ptr<ByteStream>(
            std::make_unique<Stream>(endpoint.side == Side::source ? source_ : target_));
    }

  private:
    class Stream final : public ByteStream {
      public:
        explicit Stream(std::string version) : version_(std::move(version)) {}
        Result<std::size_t> read(std::span<char> buffer, Deadline) override {
            if (answers_.empty()) return fail(ErrorCode::timeout, "nothing was asked");
            const std::size_t size = std::min(buffer.size(), answers_.size());
            std::copy_n(answers_.begin(), size, buffer.begin());
            answers_.erase(0, size);
            return size;
        }
        Status write(std::string_view bytes, Deadline) override {
            std::vector<std::string_view> args;
            while (!bytes.empty()) {
                const auto used = redis::split_command(bytes, args);
                if (!used || *used == 0) return fail(ErrorCode::internal, "not a whole command");
                bytes.remove_prefix(*used);
                const std::string info = "redis_version:" + version_ + "\r\n";
                if (redis::word_is(args[0], "INFO"))
                    answers_ += "$" + std::to_string(info.size()) + "\r\n" + info + "\r\n";
                else
                    answers_ += redis::word_is(args[0], "PING") ? "+PONG\r\n" : "+OK\r\n";
            }
            return {};
        }
        void shutdown() override {}

      private:
        std::string version_;
        std::string answers_;
    };
    std::string source_;
    std::string target_;
};

Finding found(const std::string& check, const std::string& source, const std::string& target) {
    Settings settings;
    settings.source = endpoint_of(Side::source, 1);
    settings.target = endpoint_of(Side::target, 2);
    MemoryJournal journal;
    Versions dialer(source, target);
    const FamilyContext context{settings, dialer, journal, "/tmp"};
    const auto findings = redis::make_redis_inspector(context)->run(check);
    REQUIRE(findings.size() == 1);
    return findings.front();
}

}  // namespace

TEST_CASE("pretest fails on a server below 7.0, on either side") {
    for (const std::string side : {"source", "target"}) {
        const bool source = side == "source";
        const std::string check = "redis.reach." + side;
        for (const std::string old : {"6.2.14", "6.0.16", "4.0.14"}) {
            const Finding refused = found(check, source ? old : "7.0.15", source ? "7.0.15" : old);
            CHECK(refused.severity == Severity::fail);
            CHECK_MESSAGE(refused.text.find("not supported") != std::string::npos, refused.text);
            CHECK(refused.hint.find("7.0") != std::string::npos);
        }
        CHECK(found(check, "7.0.15", "7.0.15").severity == Severity::pass);
    }
}
