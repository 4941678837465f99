// Hazard: clients that log in by a certificate, with target.auth = map. Who a verified certificate
// says they are decides on both sides of a switch; a certificate of nobody, of another authority,
// or none at all, lets in nobody.
#include <atomic>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <thread>

#include "base/digest.h"
#include "tests/support/scenario.h"
#include "tests/unit/net/certificates.h"

using namespace exodus;
using namespace exodus::test;

namespace {

std::string secret(const std::string& user, const std::string& side) {
    return user + "-" + side + "-secret";
}

/// Commands in the order of their lines over one TLS connection; the answers, a line each.
std::string talk(Rig& rig, const std::string& leaf, const std::string& lines,
                 const std::string& file = "lines") {
    const Certificates& made = certificates();
    std::vector<std::string> words{
        "redis-cli", "-h",       "127.0.0.1",        "-p", std::to_string(rig.port()),
        "--tls",     "--cacert", made.file("ca.pem")};
    if (!leaf.empty()) {
        words.insert(words.end(),
                     {"--cert", made.file(leaf + ".pem"), "--key", made.file(leaf + ".key")});
    }
    ProcessOptions options;
    options.input = rig.file(file);
    write_file(options.input, lines);
    const RunResult result = run(words, milliseconds(20'000), options);
    return result.out + result.err;
}

void certified(const std::string& sharing) {
    RigOptions options;
    options.config = {
        {"redis", "target.auth = \"map\"\n\"interlay.sharing\" = \"" + sharing + "\""},
        {"interlay", fmt::format("tls = {{ cert = \"{}\", key = \"{}\", ca = \"{}\" }}",
                                 certificates().file("good.pem"), certificates().file("good.key"),
                                 certificates().file("ca.pem"))}};
    const auto user = [&](const std::string& name, const std::string& how) {
        options.tables += fmt::format(
            "\n[[interlay.user]]\nname = \"{0}\"\n{1}\nsource_user = \"{0}\"\n"
            "source_password_file = \"{0}.source\"\ntarget_user = \"t-{0}\"\n"
            "target_password_file = \"{0}.target\"\n",
            name, how);
    };
    user("ann", "certificate = \"CN=app\"");
    user("bob", "password_sha256 = \"" + sha256_hex("bob-secret") + "\"");
    Rig rig(options);
    for (const std::string name : {"ann", "bob"}) {
        for (const std::string side : {"source", "target"}) {
            RedisServer& server = side == "source" ? rig.source() : rig.target();
            REQUIRE(server.text({"ACL", "SETUSER", side == "source" ? name : "t-" + name, "on",
                                 ">" + secret(name, side), "~*", "&*", "+@all", "-@admin",
                                 "-@dangerous", "+info"}) == "OK");
            REQUIRE(server.text({"ACL", "SAVE"}) == "OK");
            write_file(rig.file(name + "." + side), secret(name, side));
        }
    }
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();

    const auto check = [&](const std::string& ann, const std::string& bob) {
        CHECK(talk(rig, "client", "ACL WHOAMI\nINCR n\n").starts_with(ann + "\n"));
        // RESET ends what was logged in by AUTH, not who the certificate says the client is.
        CHECK(talk(rig, "client", "AUTH bob bob-secret\nACL WHOAMI\nRESET\nACL WHOAMI\n") ==
              "OK\n" + bob + "\nRESET\n" + ann + "\n");
        // Without a certificate, or with one of no user: by password, or not at all.
        for (const std::string leaf : {"", "good"}) {
            CAPTURE(leaf);
            CHECK(talk(rig, leaf, "GET n\n").find("NOAUTH") != std::string::npos);
            CHECK(talk(rig, leaf, "AUTH ann app\nGET n\n").find("WRONGPASS") != std::string::npos);
            CHECK(talk(rig, leaf, "AUTH bob bob-secret\nACL WHOAMI\n") == "OK\n" + bob + "\n");
        }
        // One of another authority is no certificate.
        CHECK(talk(rig, "foreign", "GET n\n").find("NOAUTH") == std::string::npos);
        CHECK(talk(rig, "foreign", "PING\n").find("PONG") == std::string::npos);
    };
    check("ann", "bob");
    {
        std::atomic<bool> stop{false};
        std::thread load([&] {  // what the analyze gate wants to see
            while (!stop) talk(rig, "client", "GET n\nSET k v\nGET k\n", "load");
        });
        rig.bring_to_ready();
        stop = true;
        load.join();
    }
    REQUIRE(rig.target().text({"ACL", "SETUSER", "t-ann", "off"}) == "OK");
    rig.expect(0, {"approve", "switch", "--reason", "test"});
    const RunResult refused =
        rig.exodus({"migrate", "--switch", "--confirm", Rig::kName, "--reason", "test"});
    CHECK((refused.out + refused.err).find("cannot log in to target: ann") != std::string::npos);
    REQUIRE(rig.target().text({"ACL", "SETUSER", "t-ann", "on"}) == "OK");
    rig.do_switch();
    check("t-ann", "t-bob");
    rig.do_rollback();
    check("ann", "bob");
}

}  // namespace

TEST_CASE("target.auth = map: a verified certificate is the login, on both sides of a switch") {
    for (const std::string sharing : {"on", "off"}) {
        CAPTURE(sharing);
        certified(sharing);
    }
}
