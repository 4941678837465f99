// Hazard: encryption that is only configured. Both database legs with mutual TLS and the listener
// with TLS: a key written through the interlay arrives, moves and survives a switch; a wrong
// authority is refused with a reason and nothing is changed.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "tests/support/rig.h"

using namespace exodus;
using namespace exodus::test;

namespace {

/// A certificate authority and certificates for 127.0.0.1, made by the openssl program.
struct Certificates {
    TempDir directory;
    std::string ca = directory.file("ca.pem");
    std::string cert = directory.file("cert.pem");
    std::string key = directory.file("key.pem");
    std::string other_ca = directory.file("other.pem");

    Certificates() {
        const auto openssl = [&](std::vector<std::string> words) {
            words.insert(words.begin(), "openssl");
            const RunResult result = run(words, milliseconds(20'000));
            INFO(result.err);
            REQUIRE(result.code == 0);
        };
        const auto authority = [&](const std::string& pem, const std::string& name) {
            openssl({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                     "-nodes", "-days", "30", "-subj", "/CN=" + name, "-keyout", pem + ".key",
                     "-out", pem});
        };
        authority(ca, "exodus test authority");
        authority(other_ca, "some other authority");
        openssl({"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                 "/CN=localhost", "-keyout", key, "-out", directory.file("request.pem")});
        write_file(directory.file("ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n");
        openssl({"x509", "-req", "-in", directory.file("request.pem"), "-CA", ca, "-CAkey",
                 ca + ".key", "-CAcreateserial", "-days", "30", "-extfile", directory.file("ext"),
                 "-out", cert});
    }
};

std::vector<std::string> server_config(const Certificates& c, int port) {
    return {fmt::format("tls-port {}", port), "tls-cert-file " + c.cert, "tls-key-file " + c.key,
            "tls-ca-cert-file " + c.ca, "tls-auth-clients yes"};
}

RigOptions options_for(const Certificates& c, const std::string& ca) {
    const int source_port = free_port();
    const int target_port = free_port();
    RigOptions options;
    options.source_config = server_config(c, source_port);
    options.target_config = server_config(c, target_port);
    const std::string tls =
        fmt::format("tls = {{ ca = \"{}\", cert = \"{}\", key = \"{}\" }}", ca, c.cert, c.key);
    options.config = {
        {"source", fmt::format("uri = \"rediss://{}@127.0.0.1:{}/0\"", Rig::kOwnUser, source_port)},
        {"source", tls},
        {"target",
         fmt::format("uri = \"valkeys://{}@127.0.0.1:{}/0\"", Rig::kOwnUser, target_port)},
        {"target", tls},
        {"interlay", fmt::format("tls = {{ cert = \"{}\", key = \"{}\" }}", c.cert, c.key)}};
    return options;
}

std::string cli(const Rig& rig, const Certificates& c, std::vector<std::string> words) {
    std::vector<std::string> line{
        "redis-cli", "-h", "127.0.0.1", "-p",       std::to_string(rig.port()), "--tls",
        "--cacert",  c.ca, "--user",    Rig::kUser, "--no-auth-warning"};
    line.insert(line.end(), words.begin(), words.end());
    ProcessOptions options;
    options.environment = {{"REDISCLI_AUTH", Rig::kPassword}};
    const RunResult result = run(line, milliseconds(10'000), options);
    return result.out.substr(0, result.out.find('\n'));
}

}  // namespace

TEST_CASE("TLS on the listener and on both legs, mutual, across a switch") {
    const Certificates certificates;
    Rig rig(options_for(certificates, certificates.ca));
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    CHECK(cli(rig, certificates, {"SET", "secret:key", "before"}) == "OK");
    for (int i = 0; i < 20; ++i)
        CHECK(cli(rig, certificates, {"APPEND", "secret:key", "."}) == std::to_string(7 + i));
    // analyze wants to see traffic: a client that goes on until the end of the test.
    Process traffic({"redis-cli", "-h", "127.0.0.1", "-p", std::to_string(rig.port()), "--tls",
                     "--cacert", certificates.ca, "--user", Rig::kUser, "--no-auth-warning", "-r",
                     "-1", "-i", "0.01", "INCR", "traffic"},
                    {.environment = {{"REDISCLI_AUTH", Rig::kPassword}},
                     .directory = {},
                     .output = {},
                     .errors = {},
                     .input = {}});
    rig.bring_to_ready();
    rig.do_switch();
    CHECK(cli(rig, certificates, {"GET", "secret:key"}) == "before....................");
    CHECK(cli(rig, certificates, {"SET", "secret:key", "after"}) == "OK");
    CHECK(rig.target().text({"GET", "secret:key"}) == "after");
}

TEST_CASE("a certificate of an unknown authority is refused, and says so") {
    const Certificates certificates;
    Rig rig(options_for(certificates, certificates.other_ca));
    rig.expect(0, {"init", "redis"});
    const RunResult result = rig.exodus({"pretest", "--ack", "tap", "--reason", "test"});
    INFO(result.out, result.err);
    CHECK(result.code == 77);
    CHECK((result.out + result.err).find("certificate") != std::string::npos);
    CHECK((result.out + result.err).find(Rig::kOwnPassword) == std::string::npos);
}
