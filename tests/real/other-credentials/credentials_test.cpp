// Hazard: the target knows the applications by other names and passwords than the source. Their
// logins must work before, across and after a switch, and the gate must name who could not log in.
#include <atomic>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <thread>

#include "base/digest.h"
#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

namespace {

const std::vector<std::string> kUsers{"ann", "bob", "cid"};

std::string client_password(const std::string& user) { return user + "-client-secret"; }
std::string source_password(const std::string& user) { return user + "-source-secret"; }
std::string target_password(const std::string& user) { return user + "-target-secret"; }

void add_user(RedisServer& server, const std::string& name, const std::string& password) {
    REQUIRE(server.text({"ACL", "SETUSER", name, "on", ">" + password, "~*", "&*", "+@all",
                         "-@admin", "-@dangerous", "+info"}) == "OK");
    REQUIRE(server.text({"ACL", "SAVE"}) == "OK");
}

/// Counts up one key as one user over one connection, logging in again now and then; every
/// acknowledged step is remembered.
class Counter {
  public:
    Counter(int port, std::string user, std::string password)
        : thread_([this, port, user = std::move(user), password = std::move(password)] {
              const auto context = connect_to(port, milliseconds(30'000));
              for (int i = 0; !stop_; ++i) {
                  const bool log_in = i % 100 == 0;
                  const std::vector<std::string> words =
                      !log_in ? std::vector<std::string>{"INCR", "count:" + user}
                      : i % 200 == 0
                          ? std::vector<std::string>{"AUTH", user, password}
                          : std::vector<std::string>{"HELLO", "2", "AUTH", user, password};
                  const auto reply = send_command(context.get(), words);
                  if (reply == nullptr || reply->type == REDIS_REPLY_ERROR) {
                      failed_ = reply == nullptr ? "connection lost" : to_text(reply.get());
                      return;
                  }
                  if (!log_in) ++acknowledged_;
              }
          }) {}
    ~Counter() {
        stop_ = true;
        if (thread_.joinable()) thread_.join();
    }
    uint64_t finish() {
        stop_ = true;
        thread_.join();
        CHECK(failed_ == "");
        return acknowledged_;
    }
    [[nodiscard]] uint64_t acknowledged() const { return acknowledged_; }

  private:
    std::atomic<bool> stop_{false};
    std::atomic<uint64_t> acknowledged_{0};
    std::string failed_;
    std::thread thread_;
};

void wait_for(Counter& counter) {
    const uint64_t from = counter.acknowledged();
    REQUIRE(eventually(milliseconds(30'000), [&] { return counter.acknowledged() > from + 200; }));
}

}  // namespace

TEST_CASE("target.auth = map: three users with other passwords on the target, under load") {
    RigOptions options;
    options.config = {{"redis", "target.auth = \"map\""}};
    std::vector<std::string> known = kUsers;
    known.emplace_back(Rig::kUser);
    for (const std::string& user : known) {
        options.tables += fmt::format(
            "\n[[interlay.user]]\nname = \"{0}\"\npassword_sha256 = \"{1}\"\n"
            "source_user = \"{0}\"\nsource_password_file = \"{0}.source\"\n"
            "target_user = \"{2}\"\ntarget_password_file = \"{0}.target\"\n",
            user, sha256_hex(user == Rig::kUser ? Rig::kPassword : client_password(user)),
            user == Rig::kUser ? user : "t-" + user);
    }
    Rig rig(options);
    for (const std::string& user : kUsers) {
        add_user(rig.source(), user, source_password(user));
        add_user(rig.target(), "t-" + user, target_password(user));
        write_file(rig.file(user + ".source"), source_password(user));
        write_file(rig.file(user + ".target"), target_password(user));
    }
    for (const char* side : {"source", "target"})
        write_file(rig.file(std::string(Rig::kUser) + "." + side), Rig::kPassword);
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();

    // Who may enter is the configuration's word, not a server's.
    const auto stranger = connect_to(rig.port(), milliseconds(30'000));
    const auto ask = [&](const std::vector<std::string>& words) {
        return to_text(send_command(stranger.get(), words).get());
    };
    CHECK(ask({"GET", "k"}).find("NOAUTH") != std::string::npos);
    CHECK(ask({"AUTH", "ann", source_password("ann")}).find("WRONGPASS") != std::string::npos);
    CHECK(ask({"AUTH", "nobody", "x"}).find("WRONGPASS") != std::string::npos);
    CHECK(ask({"HELLO", "3"}).find("NOAUTH") != std::string::npos);
    CHECK(ask({"AUTH", "ann", client_password("ann")}) == "OK");
    CHECK(ask({"ACL", "WHOAMI"}) == "ann");

    Ledger ledger([&] {
        LedgerOptions load = load_through(rig);
        load.reconnect = false;
        return load;
    }());
    ledger.start();
    std::vector<std::unique_ptr<Counter>> counters;
    for (const std::string& user : kUsers)
        counters.push_back(std::make_unique<Counter>(rig.port(), user, client_password(user)));
    for (const auto& counter : counters) wait_for(*counter);
    rig.bring_to_ready();

    // A user whom the target does not let in is named before anything is held.
    REQUIRE(rig.target().text({"ACL", "SETUSER", "t-bob", "off"}) == "OK");
    rig.expect(0, {"approve", "switch", "--reason", "test"});
    const RunResult refused =
        rig.exodus({"migrate", "--switch", "--confirm", Rig::kName, "--reason", "test"});
    INFO(refused.out, refused.err);
    CHECK(refused.code != 0);
    CHECK((refused.out + refused.err).find("cannot log in to target: bob") != std::string::npos);
    CHECK(rig.authority() == "source");
    for (const std::string& user : kUsers) {
        CHECK((refused.out + refused.err).find(target_password(user)) == std::string::npos);
        CHECK(rig.interlay_log().find(client_password(user)) == std::string::npos);
    }
    REQUIRE(rig.target().text({"ACL", "SETUSER", "t-bob", "on"}) == "OK");

    rig.do_switch();
    CHECK(rig.authority() == "target");
    for (const auto& counter : counters) wait_for(*counter);
    rig.do_rollback();
    for (const auto& counter : counters) wait_for(*counter);
    for (std::size_t i = 0; i < counters.size(); ++i) {
        const uint64_t acknowledged = counters[i]->finish();
        CHECK(rig.source().text({"GET", "count:" + kUsers[i]}) == std::to_string(acknowledged));
    }
    CHECK(ledger.violations() == std::vector<std::string>{});
    check_ledger(ledger, rig.source());
}

TEST_CASE("target.auth = same and service: who cannot log in is named; one user for everybody") {
    for (const std::string mode : {"same", "service"}) {
        RigOptions options;
        options.config = {{"redis", "target.auth = \"" + mode + "\""}};
        options.acks = ",redis.acl";
        if (mode == "service") {
            options.tables =
                "\n[[interlay.user]]\nname = \"*\"\ntarget_user = \"everybody\"\n"
                "target_password_file = \"everybody.target\"\n";
        }
        Rig rig(options);
        add_user(rig.target(), "everybody", target_password("everybody"));
        write_file(rig.file("everybody.target"), target_password("everybody"));
        add_user(rig.source(), "ann", source_password("ann"));
        add_user(rig.target(), "ann", target_password("ann"));
        rig.expect(0, {"init", "redis"});
        const std::string told = rig.expect(2, {"pretest", "--only", "redis.acl"});
        CHECK(told.find(mode == "same" ? "user ann has another password on the target"
                                       : "everybody is one user") != std::string::npos);
        rig.start_interlay();
        Counter counter(rig.port(), "ann", source_password("ann"));
        wait_for(counter);
        rig.bring_to_ready();
        rig.expect(0, {"approve", "switch", "--reason", "test"});
        const RunResult result =
            rig.exodus({"migrate", "--switch", "--confirm", Rig::kName, "--reason", "test"});
        INFO(mode, result.out, result.err);
        if (mode == "same") {
            CHECK(result.code != 0);
            CHECK((result.out + result.err).find("cannot log in to target: ann") !=
                  std::string::npos);
            wait_for(counter);
            CHECK(rig.source().text({"GET", "count:ann"}) == std::to_string(counter.finish()));
        } else {
            CHECK(result.code == 0);
            CHECK(rig.authority() == "target");
            wait_for(counter);
            rig.do_rollback();
            wait_for(counter);
            CHECK(rig.source().text({"GET", "count:ann"}) == std::to_string(counter.finish()));
        }
    }
}

TEST_CASE("a restart of the interlay forgets neither who has to be proven nor what was") {
    Rig rig;
    for (const std::string user : {"ann", "bob"}) {
        add_user(rig.source(), user, source_password(user));
        add_user(rig.target(), user, source_password(user));
    }
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    const auto visit = [&](const std::string& user) {
        const auto context = connect_to(rig.port(), milliseconds(30'000));
        CHECK(to_text(send_command(context.get(), {"AUTH", user, source_password(user)}).get()) ==
              "OK");
        CHECK(send_command(context.get(), {"INCR", "count:" + user})->type == REDIS_REPLY_INTEGER);
    };
    visit("bob");
    Counter ann(rig.port(), "ann", source_password("ann"));
    wait_for(ann);
    rig.bring_to_ready();
    ann.finish();
    rig.kill_interlay();
    rig.start_interlay();
    rig.expect(0, {"migrate", "--until", "ready"});
    rig.expect(0, {"approve", "switch", "--reason", "test"});
    const auto refusal = [&] {
        const RunResult refused =
            rig.exodus({"migrate", "--switch", "--confirm", Rig::kName, "--reason", "test"});
        CHECK(refused.code != 0);
        CHECK(rig.authority() == "source");
        return refused.out + refused.err;
    };
    CHECK(refusal().find("never proven on target: ann, bob") != std::string::npos);
    visit("ann");
    CHECK(refusal().find("never proven on target: bob") != std::string::npos);
    visit("bob");
    rig.do_switch();
    // Both were let in on both sides, and nobody has come since.
    for (const bool back : {true, false}) {
        CHECK(rig.stop_interlay() == 0);
        rig.start_interlay();
        if (back) {
            rig.do_rollback();
        } else {
            rig.do_switch();
        }
        CHECK(rig.authority() == (back ? "source" : "target"));
    }
}
