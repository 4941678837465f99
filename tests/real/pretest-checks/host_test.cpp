// What pretest checks on this host: where the interlay will listen, and with which certificate.
#include <doctest/doctest.h>
#include <filesystem>
#include <map>

#include "net/listener.h"
#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

namespace {

struct Found {
    std::string worst = "pass";
    std::string text;  ///< with hints
};

Found found(Rig& rig, const std::string& check,
            const std::map<std::string, std::string>& environment = {}) {
    const RunResult result = rig.exodus({"pretest", "--json", "--only", check}, environment);
    INFO(result.out, result.err);
    Found out;
    const nlohmann::json answer = last_result(result.out);
    for (const auto& finding : answer.at("findings")) {
        CHECK(finding.at("id") == check);
        CHECK(finding.at("subject") == "interlay");
        const std::string severity = finding.at("severity");
        if (severity == "fail" || (severity == "warn" && out.worst == "pass")) out.worst = severity;
        out.text += finding.at("text").get<std::string>() + " [" +
                    finding.value("hint", std::string()) + "]\n";
    }
    return out;
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// A key and a certificate of its own that ends in so many days.
void make_certificate(const std::string& stem, int days) {
    const std::vector<std::vector<std::string>> steps = {
        {"openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-subj", "/CN=localhost", "-keyout", stem + ".key", "-out", stem + ".csr"},
        {"openssl", "x509", "-req", "-in", stem + ".csr", "-signkey", stem + ".key", "-days",
         std::to_string(days), "-out", stem + ".pem"}};
    for (const auto& step : steps) {
        const RunResult made = run(step, milliseconds(20'000));
        INFO(made.err);
        REQUIRE(made.code == 0);
    }
}

}  // namespace

TEST_CASE("pretest: the interlay's address is free, its own, or somebody else's") {
    Rig rig;
    rig.expect(0, {"init", "redis"});
    CHECK(has(rig.expect(0, {"pretest", "--list"}), "interlay.listen"));
    const auto listen = [&](const std::string& addresses) {
        return found(rig, "interlay.listen", {{"EXODUS_INTERLAY_LISTEN", addresses}});
    };
    const std::string address = "127.0.0.1:" + std::to_string(rig.port());
    CHECK(found(rig, "interlay.listen").worst == "pass");
    // Looking leaves nothing behind.
    const std::string path = rig.file("listen.sock");
    CHECK(listen("unix:" + path).worst == "pass");
    CHECK_FALSE(std::filesystem::exists(path));

    const auto somebody = Listener::bind({"127.0.0.1:0"});
    REQUIRE(somebody);
    const std::string taken = (*somebody)->addresses().front();
    Found refused = listen(address + "," + taken);
    CHECK(refused.worst == "fail");
    CHECK_MESSAGE(has(refused.text, "cannot listen on " + taken), refused.text);
    CHECK(has(refused.text, "another process listens there"));
    CHECK(has(refused.text, address + " is free"));
    refused = listen("192.0.2.1:6400");
    CHECK(refused.worst == "fail");
    CHECK_MESSAGE(has(refused.text, "cannot listen on 192.0.2.1:6400"), refused.text);
    CHECK(has(refused.text, "an address of this host"));
    write_file(path, "no socket");
    CHECK(has(listen("unix:" + path).text, "exists and is no socket"));
    CHECK(read_file(path) == "no socket");

    // The one of this migration may have it: also by another name, and while it does not answer.
    rig.start_interlay();
    const Found own = found(rig, "interlay.listen");
    CHECK(own.worst == "pass");
    CHECK_MESSAGE(has(own.text, "own interlay (pid " + std::to_string(rig.interlay_pid()) + ")"),
                  own.text);
    CHECK(listen("localhost:" + std::to_string(rig.port())).worst == "pass");
    rig.freeze_interlay(true);
    CHECK(found(rig, "interlay.listen").worst == "pass");
    rig.freeze_interlay(false);
    rig.kill_interlay();
    CHECK(found(rig, "interlay.listen").worst == "pass");
}

TEST_CASE("pretest: the listener's certificate") {
    Rig rig;
    rig.expect(0, {"init", "redis"});
    const auto with = [&](const std::string& certificate, const std::string& key) {
        return found(rig, "interlay.certificate",
                     {{"EXODUS_INTERLAY_TLS_CERT", certificate}, {"EXODUS_INTERLAY_TLS_KEY", key}});
    };
    Found certificate = found(rig, "interlay.certificate");
    CHECK(certificate.worst == "pass");
    make_certificate(rig.file("long"), 30);
    make_certificate(rig.file("short"), 10);
    make_certificate(rig.file("over"), -1);
    certificate = with(rig.file("long.pem"), rig.file("long.key"));
    CHECK_MESSAGE(certificate.worst == "pass", certificate.text);
    certificate = with(rig.file("short.pem"), rig.file("short.key"));
    CHECK(certificate.worst == "warn");
    CHECK(has(certificate.text, "expires soon"));
    CHECK(has(certificate.text, "exodus ctl reload"));
    certificate = with(rig.file("over.pem"), rig.file("over.key"));
    CHECK(certificate.worst == "fail");
    CHECK_MESSAGE(has(certificate.text, "has expired"), certificate.text);
    certificate = with(rig.file("long.pem"), rig.file("short.key"));
    CHECK(certificate.worst == "fail");
    CHECK_MESSAGE(has(certificate.text, "does not belong to"), certificate.text);
    certificate = with(rig.file("none.pem"), rig.file("long.key"));
    CHECK(certificate.worst == "fail");
    CHECK(has(certificate.text, "none.pem"));
    // The one that ends first counts, wherever it stands in the file.
    write_file(rig.file("chain.pem"),
               read_file(rig.file("long.pem")) + read_file(rig.file("short.pem")));
    certificate = with(rig.file("chain.pem"), rig.file("long.key"));
    CHECK(certificate.worst == "warn");
}
