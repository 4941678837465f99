// Hazard: bytes that are no command amid the stream. What came before them in the same read comes
// again when the link is attached anew, and must not be applied twice.
#include <algorithm>
#include <atomic>
#include <doctest/doctest.h>

#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

/// Puts such bytes behind the next ones that are read on a replication link, when asked.
class Breaking : public Dialer {
  public:
    explicit Breaking(std::atomic<bool>& wanted) : wanted_(wanted) {}
    Result<std::unique_ptr<ByteStream>> dial(const Endpoint& endpoint,
                                             milliseconds timeout) override {
        auto stream = inner_->dial(endpoint, timeout);
        if (!stream) return stream;
        return std::make_unique<Stream>(std::move(*stream), wanted_);
    }

  private:
    class Stream : public ByteStream {
      public:
        Stream(std::unique_ptr<ByteStream> inner, std::atomic<bool>& wanted)
            : inner_(std::move(inner)), wanted_(wanted) {}
        Result<std::size_t> read(std::span<char> buffer, Deadline deadline) override {
            constexpr std::string_view kNoCommand = "!no command\r\n";
            auto got = inner_->read(buffer.first(buffer.size() - kNoCommand.size()), deadline);
            if (!got || !link_ || !wanted_.exchange(false)) return got;
            std::copy(kNoCommand.begin(), kNoCommand.end(),
                      buffer.begin() + static_cast<std::ptrdiff_t>(*got));
            return *got + kNoCommand.size();
        }
        Status write(std::string_view bytes, Deadline deadline) override {
            if (bytes.find("PSYNC") != std::string_view::npos) link_ = true;
            return inner_->write(bytes, deadline);
        }
        void shutdown() override { inner_->shutdown(); }

      private:
        std::unique_ptr<ByteStream> inner_;
        std::atomic<bool>& wanted_;
        bool link_ = false;
    };
    std::unique_ptr<Dialer> inner_ = make_dialer();
    std::atomic<bool>& wanted_;
};

TEST_CASE("what came before bytes that are no command is not applied twice") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    std::atomic<bool> wanted = false;
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path(), {},
                std::make_unique<Breaking>(wanted));
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    require_equal(mover, *mover.forward, source, target);
    for (int i = 1; i <= 5; ++i) {
        wanted = true;
        source.text({"INCR", "counter"});
        REQUIRE(eventually(milliseconds(10'000), [&] { return !wanted; }));
        require_equal(mover, *mover.forward, source, target);
        CHECK(target.text({"GET", "counter"}) == std::to_string(i));
    }
}

}  // namespace
}  // namespace exodus::test
