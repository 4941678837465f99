// Hazard: an item of the fill did not arrive, and before that was made good or written down the
// lane had to open anew: behind the place that is durable nobody would read the key again.
#include <atomic>
#include <doctest/doctest.h>

#include "families/redis/movement.h"
#include "tests/support/redis_server.h"
#include "tests/unit/redis_ops/support.h"

using namespace exodus;
using namespace exodus::test;

namespace {

/// Does not take the row about an item at first.
class BusyAtTheRow final : public MemoryJournal {
  public:
    Status add_item_error(const ItemError& error) override {
        if (refused.fetch_add(1) < 2) return fail(ErrorCode::locked, "the state file is locked");
        return MemoryJournal::add_item_error(error);
    }
    std::atomic<int> refused{0};
};

/// Spoils RESTOREs of a value on their way to the target so many times, so that the target refuses
/// them, and cuts the connection at what is sent behind the last of those.
class Spoiling final : public Dialer {
  public:
    Spoiling(std::string value, int times) : value_(std::move(value)), times_(times) {}
    Result<std::unique_ptr<ByteStream>> dial(const Endpoint& endpoint,
                                             milliseconds timeout) override {
        auto stream = inner_->dial(endpoint, timeout);
        if (!stream || endpoint.side != Side::target) return stream;
        return std::make_unique<Stream>(std::move(*stream), *this);
    }
    std::atomic<int> seen{0};

  private:
    class Stream final : public ByteStream {
      public:
        Stream(std::unique_ptr<ByteStream> inner, Spoiling& owner)
            : inner_(std::move(inner)), owner_(owner) {}
        Result<std::size_t> read(std::span<char> buffer, Deadline deadline) override {
            return inner_->read(buffer, deadline);
        }
        Status write(std::string_view bytes, Deadline deadline) override {
            if (cut_next_) {
                inner_->shutdown();
                return fail(ErrorCode::unreachable, "cut");
            }
            const auto at = bytes.find(owner_.value_);
            if (at == std::string_view::npos) return inner_->write(bytes, deadline);
            const int before = owner_.seen.fetch_add(1);
            if (before >= owner_.times_) return inner_->write(bytes, deadline);
            cut_next_ = before + 1 == owner_.times_;
            std::string changed(bytes);
            changed[at] = '?';
            return inner_->write(changed, deadline);
        }
        void shutdown() override { inner_->shutdown(); }

      private:
        std::unique_ptr<ByteStream> inner_;
        Spoiling& owner_;
        bool cut_next_ = false;
    };
    const std::string value_;
    const int times_;
    std::unique_ptr<Dialer> inner_ = make_dialer();
};

}  // namespace

TEST_CASE("the row about an item that cannot be copied is written although the file was busy") {
    RedisServer source{ServerOptions{Engine::redis, {}, {}}};
    RedisServer target{ServerOptions{Engine::valkey, {"proto-max-bulk-len 1mb"}, {}}};
    const Migration migration(source.port(), target.port());
    BusyAtTheRow journal;
    const TempDir directory;
    const FamilyContext context{migration.settings, *migration.dialer, journal, directory.path()};
    source.text({"SET", "too:large", random_text(1'500'000)});
    source.text({"SET", "small", "v"});
    const auto movement = redis::make_redis_movement(context, Direction::forward);
    REQUIRE(movement->set_mode(MovementMode::apply));
    CHECK(eventually(milliseconds(30'000),
                     [&] { return movement->status().stage == MovementStage::following; }));
    movement->stop();
    REQUIRE(journal.errors.size() == 1);
    CHECK(journal.errors.front().key == "too:large");
    CHECK(target.text({"EXISTS", "too:large", "small"}) == "1");
}

TEST_CASE("an item that was refused arrives although the connection was lost before the next try") {
    RedisServer source{ServerOptions{Engine::redis, {}, {}}};
    RedisServer target{ServerOptions{Engine::valkey, {}, {}}};
    const Migration migration(source.port(), target.port());
    Spoiling dialer("precious", 1);
    MemoryJournal journal;
    const TempDir directory;
    const FamilyContext context{migration.settings, dialer, journal, directory.path()};
    source.text({"SET", "k", "precious"});
    source.text({"SET", "other", "v"});
    const auto movement = redis::make_redis_movement(context, Direction::forward);
    REQUIRE(movement->set_mode(MovementMode::apply));
    CHECK(eventually(milliseconds(30'000),
                     [&] { return movement->status().stage == MovementStage::following; }));
    movement->stop();
    CHECK(dialer.seen >= 2);
    CHECK(target.text({"GET", "k"}) == "precious");
    CHECK(journal.errors.empty());
}

TEST_CASE("a change that was refused twice arrives although the connection was lost then") {
    RedisServer source{ServerOptions{Engine::redis, {}, {}}};
    // What it does not know is copied by state.
    RedisServer target{ServerOptions{Engine::valkey, {"rename-command APPEND \"\""}, {}}};
    const Migration migration(source.port(), target.port());
    Spoiling dialer("precious", 2);
    MemoryJournal journal;
    const TempDir directory;
    const FamilyContext context{migration.settings, dialer, journal, directory.path()};
    const auto movement = redis::make_redis_movement(context, Direction::forward);
    REQUIRE(movement->set_mode(MovementMode::apply));
    REQUIRE(eventually(milliseconds(30'000),
                       [&] { return movement->status().stage == MovementStage::following; }));
    source.text({"APPEND", "k", "precious"});
    REQUIRE(eventually(milliseconds(30'000), [&] { return dialer.seen >= 2; }));
    source.text({"SET", "later", "v"});
    CHECK(eventually(milliseconds(30'000), [&] { return target.text({"GET", "later"}) == "v"; }));
    CHECK(eventually(milliseconds(10'000), [&] {
        return target.text({"GET", "k"}) == "precious";
    }));
    movement->stop();
    CHECK(journal.errors.empty());
}
