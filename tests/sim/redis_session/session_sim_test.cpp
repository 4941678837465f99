// Seeded runs of the Redis brain: bytes cut anywhere, delays, lost connections, and switches back
// and forth at any moment. Every client knows the exact answer to each of its requests, because it
// owns its keys and a switch copies the data; a server that is no longer the authority must never
// see another write.
#include <cstdlib>
#include <doctest/doctest.h>
#include <random>

#include "tests/sim/redis_session/world.h"

using namespace exodus;
using namespace exodus::redis;
using namespace exodus::redis::sim;

namespace {

class SimClient {
  public:
    SimClient(World& world, int number, std::mt19937& random, bool resp3, bool sharing)
        : world_(world),
          number_(number),
          random_(random),
          id_(world.connect()),
          resp3_(resp3),
          sharing_(sharing) {
        if (resp3_) {
            // The id is the session's own.
            add(command({"HELLO", "3"}), "%2\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:" +
                                             std::to_string(kFirstVirtualId + number) + "\r\n");
        }
    }

    void add(const std::string& request, const std::string& reply) {
        requests_ += request;
        expected_ += reply;
    }

    void work() {
        const std::string n = std::to_string(number_);
        switch (random_() % 13) {
            case 0:
                add(command({"SET", "s" + n, std::to_string(++value_)}), "+OK\r\n");
                break;
            case 1:
                add(command({"GET", "s" + n}),
                    value_ == 0 ? (resp3_ ? "_\r\n" : "$-1\r\n") : bulk(std::to_string(value_)));
                break;
            case 2:
            case 3:
                add(command({"INCR", key("c")}), number(++count()));
                break;
            case 4:
                add(command({"MULTI"}), "+OK\r\n");
                add(command({"INCR", key("c")}), "+QUEUED\r\n");
                add(command({"GET", "s" + n}), "+QUEUED\r\n");
                add(command({"EXEC"}), "*2\r\n" + number(++count()) +
                                           (value_ == 0 ? (resp3_ ? "_\r\n" : "$-1\r\n")
                                                        : bulk(std::to_string(value_))));
                break;
            case 5: {
                db_ = static_cast<int>(random_() % 3);
                add(command({"SELECT", std::to_string(db_)}), "+OK\r\n");
                value_ = values_[db_];
                break;
            }
            case 6:
                add(command({"EVAL", "return redis.call('incr', KEYS[1])", "1", key("c")}),
                    number(++count()));
                break;
            case 7:
                add(command(
                        {"EVALSHA", sha1_hex("return redis.call('incr', KEYS[1])"), "1", key("c")}),
                    "?");
                break;
            case 8:  // pushes to itself, then takes it: a blocking pop that is served at once
                add(command({"RPUSH", "q" + n, "x" + std::to_string(++pushed_)}), ":1\r\n");
                add(command({"BLPOP", "q" + n, "0"}),
                    "*2\r\n" + bulk("q" + n) + bulk("x" + std::to_string(pushed_)));
                break;
            case 9:
                add(command({"BLPOP", "none" + n, "0.02"}), resp3_ ? "_\r\n" : "*-1\r\n");
                break;
            case 10:
                add(command({"APPEND", key("a"), "abc"}), number(appended_[db_] += 3));
                break;
            case 11:
                if (sharing_) add(command({"CLIENT", "ID"}), number(kFirstVirtualId + number_));
                add("PING\r\n", "+PONG\r\n");
                break;
            default:
                add(command({"MULTI"}), "+OK\r\n");
                add(command({"APPEND", key("a"), "zz"}), "+QUEUED\r\n");
                add(command({"DISCARD"}), "+OK\r\n");
                break;
        }
        values_[db_] = value_;
        if (expected_.ends_with("?")) {  // EVALSHA is only sent once its EVAL was: else the answer
                                         // depends on history
            expected_.pop_back();
            expected_ += number(++count());
            if (!loaded_) {
                loaded_ = true;
                const auto at = requests_.rfind("*4\r\n$7\r\nEVALSHA");
                requests_.resize(at);
                requests_ += command({"EVAL", "return redis.call('incr', KEYS[1])", "1", key("c")});
            } else {
                evalsha_alone();
            }
        }
    }
    void write_some() {
        if (requests_.empty()) return;
        const std::size_t size = std::min<std::size_t>(requests_.size(), 1 + random_() % 200);
        world_.write(id_, requests_.substr(0, size));
        requests_.erase(0, size);
    }
    [[nodiscard]] bool done() const {
        return requests_.empty() && world_.peers.at(id_).received == expected_;
    }
    void check() const {
        const std::string& got = world_.peers.at(id_).received;
        const bool prefix = expected_.compare(0, got.size(), got) == 0;
        if (prefix) return;
        std::size_t at = 0;
        while (at < got.size() && at < expected_.size() && got[at] == expected_[at]) ++at;
        FAIL("client ", number_, " at byte ", at,
             "\n got: ", got.substr(at > 60 ? at - 60 : 0, 160),
             "\n not: ", expected_.substr(at > 60 ? at - 60 : 0, 160));
    }
    uint64_t id() const { return id_; }
    [[nodiscard]] std::string describe() const {
        return "client " + std::to_string(number_) + " missing: " +
               expected_.substr(std::min(expected_.size(), world_.peers.at(id_).received.size()),
                                80);
    }

  private:
    // Pipelined behind others an EVALSHA of a script that the other side lacks may get NOSCRIPT;
    // clients then send EVAL. The script is loaded on both sides before a switch (ready_for), which
    // the simulator does as well.
    void evalsha_alone() {}
    int64_t& count() { return counts_[db_]; }
    [[nodiscard]] std::string key(const std::string& prefix) const {
        return prefix + std::to_string(number_);
    }
    static std::string bulk(const std::string& text) {
        std::string out;
        resp::append_bulk(out, text);
        return out;
    }
    static std::string number(int64_t value) { return ":" + std::to_string(value) + "\r\n"; }

    World& world_;
    int number_;
    std::mt19937& random_;
    uint64_t id_;
    bool resp3_;
    bool sharing_;
    bool loaded_ = false;
    std::string requests_;
    std::string expected_;
    int db_ = 0;
    int64_t value_ = 0;
    std::map<int, int64_t> values_;
    std::map<int, int64_t> counts_;
    std::map<int, int64_t> appended_;
    int64_t pushed_ = 0;
};

void run(unsigned seed, bool sharing) {
    CAPTURE(seed);
    CAPTURE(sharing);
    std::mt19937 random(seed);
    World world(sharing);
    if (random() % 2 == 0) {
        world.brain_route_.mirror_percent = 50;
        world.brain_route_.aa_percent = 5;
    }
    std::vector<std::unique_ptr<SimClient>> clients;
    const int count = 1 + static_cast<int>(random() % 5);
    for (int i = 0; i < count; ++i) {
        clients.push_back(
            std::make_unique<SimClient>(world, i, random, sharing && random() % 2 == 0, sharing));
    }
    const std::size_t piece_max = random() % 3 == 0 ? 3 : random() % 2 == 0 ? 40 : 4096;
    using Moment = SimCutover::Moment;
    SimCutover cutover(world);
    int patience = 0;
    int left = 120;
    int switches = 0;
    for (int step = 0; step < 60000; ++step) {
        const auto dice = random() % 100;
        if (dice < 4 && left > 0) {
            --left;
            clients[random() % clients.size()]->work();
        } else if (dice < 12) {
            clients[random() % clients.size()]->write_some();
        } else if (dice < 15) {
            world.advance(static_cast<int64_t>(random() % 8000));
        } else if (dice < 16 && switches < 6) {
            if (cutover.moment() == Moment::open) {
                patience = 400;
                cutover.hold();
            }
        } else {
            std::vector<uint64_t> live;
            for (const auto& [id, peer] : world.peers) {
                if (!peer.closed) live.push_back(id);
            }
            world.move(live[random() % live.size()], 1 + random() % piece_max);
        }
        if (cutover.moment() == Moment::held) {
            if (cutover.quiet() && random() % 10 == 0) {
                cutover.fence();
            } else if (!cutover.quiet() && --patience == 0) {
                cutover.release();  // abort
            }
        } else if (cutover.moment() == Moment::fenced && random() % 20 == 0) {
            if (random() % 5 == 0) {
                cutover.release();  // abort
            } else {
                cutover.move();
                ++switches;
            }
        } else if (cutover.moment() == Moment::moved && random() % 20 == 0) {
            cutover.release();
        }
        for (const auto& client : clients) client->check();
        if (step % 16 == 0) {
            for (const FakeServer& server : world.servers) {
                if (!server.strays.empty())
                    FAIL("write on the side that is not the authority: ", server.strays[0]);
            }
        }
        if (left == 0 && cutover.moment() == Moment::open) break;
    }
    if (cutover.moment() != Moment::open) cutover.release();
    for (int round = 0; round < 400; ++round) {
        for (const auto& client : clients) client->write_some();
        world.settle();
        world.advance(5000);
        bool all = true;
        for (const auto& client : clients) {
            client->check();
            all = all && client->done();
        }
        if (all) break;
    }
    for (const auto& client : clients) {
        if (!client->done()) FAIL(client->describe());
        CHECK(!world.is_closed(client->id()));
    }
    for (const FakeServer& server : world.servers) CHECK(server.strays.empty());
    CHECK(world.brain->quiescence().writes_in_flight == 0);
    CHECK(world.brain->quiescence().held == 0);
    for (const ExchangePair& pair : world.compared) CHECK(!pair.left.empty());
}

unsigned env(const char* name, unsigned fallback) {
    const char* text = std::getenv(name);
    return text == nullptr ? fallback : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

}  // namespace

TEST_CASE("sessions under split, delay, switch and rollback at every step") {
    const unsigned first = env("EXODUS_SIM_SEED", 1);
    const unsigned seeds = env("EXODUS_SIM_SEEDS", 1500);
    for (unsigned seed = first; seed < first + seeds; ++seed) run(seed, true);
}

TEST_CASE("the same with a connection per client") {
    const unsigned first = env("EXODUS_SIM_SEED", 1);
    const unsigned seeds = env("EXODUS_SIM_SEEDS", 1500) / 3;
    for (unsigned seed = first; seed < first + seeds; ++seed) run(seed + 1'000'000, false);
}
