// The telemetry server over a fake source: who is answered, what is live, and that a client that
// comes back misses no event and sees none twice.
#include <doctest/doctest.h>
#include <httplib.h>
#include <regex>

#include "telemetry/http_server.h"
#include "telemetry/limits.h"
#include "tests/support/redis_server.h"
#include "tests/unit/telemetry/fake_source.h"

using namespace exodus;
using namespace exodus::test;

namespace {

struct Served {
    explicit Served(TelemetryOptions options = {}) {
        TelemetrySnapshot first;
        first.status = {{"state", "following"}, {"authority", "source"}};
        source.set(std::move(first));
        auto bound = TelemetryServer::bind(std::move(options));
        REQUIRE(bound);
        server = std::move(*bound);
        server->serve(source);
        const std::string url = server->url();
        port = std::stoi(url.substr(url.rfind(':') + 1));
        REQUIRE(eventually(milliseconds(5'000), [&] { return source.snapshots > 0; }));
    }
    ~Served() { source.stalls = false; }
    [[nodiscard]] httplib::Client client() const { return httplib::Client("127.0.0.1", port); }

    FakeSource source;
    std::unique_ptr<TelemetryServer> server;
    int port = 0;
};

/// Follows /events until `until` ids came or 5 s passed; returns the ids.
std::vector<int64_t> follow(const Served& served, const std::string& path,
                            const httplib::Headers& headers, std::size_t until) {
    std::string text;
    std::vector<int64_t> ids;
    auto client = served.client();
    client.set_read_timeout(std::chrono::seconds(5));
    const Deadline deadline = Deadline::in(milliseconds(5'000));
    static_cast<void>(client.Get(path, headers, [&](const char* data, std::size_t size) {
        text.append(data, size);
        ids.clear();
        static const std::regex id("(?:^|\n)id: ([0-9]+)\n");
        for (auto it = std::sregex_iterator(text.begin(), text.end(), id);
             it != std::sregex_iterator(); ++it)
            ids.push_back(std::stoll((*it)[1]));
        return ids.size() < until && !deadline.passed();
    }));
    return ids;
}

std::vector<int64_t> range(int64_t first, int64_t last) {
    std::vector<int64_t> out;
    for (int64_t id = first; id <= last; ++id) out.push_back(id);
    return out;
}

}  // namespace

TEST_CASE("what is served: status, metrics, the page, and whether it lives") {
    const Served served;
    auto client = served.client();
    REQUIRE(eventually(milliseconds(5'000), [&] { return client.Get("/readyz")->status == 200; }));
    const auto status = client.Get("/status");
    REQUIRE(status);
    const auto object = nlohmann::json::parse(status->body);
    CHECK(object.at("authority") == "source");
    CHECK(object.at("now_ms").get<int64_t>() >= object.at("at_ms").get<int64_t>());
    CHECK(client.Get("/livez")->status == 200);
    CHECK(client.Get("/metrics")->body.find("exodus_state{state=\"following\"} 1") !=
          std::string::npos);
    const auto page = client.Get("/");
    CHECK(page->status == 200);
    CHECK(page->get_header_value("Content-Security-Policy").find("default-src 'none'") == 0);
    CHECK(client.Get("/index.html")->body == page->body);
    CHECK(client.Get("/nothing")->status == 404);
    CHECK(client.Post("/status", "", "text/plain")->status == 405);
}

TEST_CASE("a source that hangs makes what is shown stale, and nothing else") {
    Served served;
    auto client = served.client();
    REQUIRE(eventually(milliseconds(5'000), [&] { return client.Get("/readyz")->status == 200; }));
    served.source.stalls = true;
    REQUIRE(eventually(milliseconds(limits::kTelemetryStale_ms + 5'000),
                       [&] { return client.Get("/readyz")->status == 503; }));
    CHECK(client.Get("/livez")->status == 200);
    CHECK(client.Get("/status")->status == 200);  // the last one, with its time
    served.source.add_event();
    CHECK(follow(served, "/events", {}, 1) == range(1, 1));  // events go on
    served.source.stalls = false;
    CHECK(eventually(milliseconds(5'000), [&] { return client.Get("/readyz")->status == 200; }));
}

TEST_CASE("an interlay that drains lives, and is not ready for applications") {
    Served served;
    auto client = served.client();
    REQUIRE(eventually(milliseconds(5'000), [&] { return client.Get("/readyz")->status == 200; }));
    TelemetrySnapshot draining;
    draining.status = {{"draining", true}};
    served.source.set(std::move(draining));
    REQUIRE(eventually(milliseconds(5'000), [&] { return client.Get("/readyz")->status == 503; }));
    CHECK(client.Get("/readyz")->body.find("draining") == 0);
    CHECK(client.Get("/livez")->status == 200);
}

TEST_CASE("events: a client that comes back misses none and sees none twice") {
    Served served;
    for (int i = 0; i < 150; ++i) served.source.add_event();
    REQUIRE(eventually(milliseconds(5'000), [&] {
        return served.client()
                   .Get("/metrics")
                   ->body.find("exodus_events_total{severity=\"info\"} 150") != std::string::npos;
    }));
    CHECK(follow(served, "/events", {}, 100) == range(51, 150));  // the newest hundred
    CHECK(follow(served, "/events?since=0", {}, 150) == range(1, 150));
    const httplib::Headers back{{"Last-Event-ID", "120"}};
    CHECK(follow(served, "/events", back, 30) == range(121, 150));
    // Two that follow while events come, one of them in pieces.
    std::atomic<bool> stop{false};
    std::thread writer([&] {
        while (!stop) {
            served.source.add_event();
            std::this_thread::sleep_for(milliseconds(1));
        }
    });
    std::vector<int64_t> pieces;
    for (int i = 0; i < 5; ++i) {
        const std::string last = std::to_string(pieces.empty() ? 150 : pieces.back());
        const auto more = follow(served, "/events", {{"Last-Event-ID", last}}, 40);
        pieces.insert(pieces.end(), more.begin(), more.end());
    }
    stop = true;
    writer.join();
    REQUIRE(pieces.size() >= 200);
    CHECK(pieces == range(151, pieces.back()));
}

TEST_CASE("events older than what is kept are read from the source") {
    Served served;
    const auto count = static_cast<int64_t>(limits::kTelemetryEvents_max + 500);
    for (int64_t i = 0; i < count; ++i) served.source.add_event();
    CHECK(follow(served, "/events?since=0", {}, static_cast<std::size_t>(count)) ==
          range(1, count));
}

TEST_CASE("with a token nobody reads numbers or events without it") {
    const Served served({.token = Secret("s3cret-token")});
    auto client = served.client();
    for (const char* path : {"/status", "/metrics", "/events"}) {
        CAPTURE(path);
        CHECK(client.Get(path)->status == 401);
        CHECK(client.Get(path, {{"Authorization", "Bearer wrong"}})->status == 401);
        CHECK(client.Get(std::string(path) + "?token=")->status == 401);
    }
    REQUIRE(eventually(milliseconds(5'000), [&] {
        return client.Get("/status", {{"Authorization", "Bearer s3cret-token"}})->status == 200;
    }));
    CHECK(client.Get("/metrics?token=s3cret-token")->status == 200);
    CHECK(client.Get("/")->status == 200);  // the page tells nothing
    CHECK(client.Get("/livez")->status == 200);
}

TEST_CASE("a page of elsewhere is refused: its name is in Host") {
    const Served served;
    auto client = served.client();
    for (const char* host : {"evil.example", "127.evil.example:80", "127.0.0.1.evil.example"}) {
        CAPTURE(host);
        CHECK(client.Get("/status", {{"Host", host}})->status == 403);
    }
    CHECK(client.Get("/livez", {{"Host", "localhost:1"}})->status == 200);
}

TEST_CASE("elsewhere than on loopback a token and TLS are needed; a taken port is said") {
    for (const char* host : {"0.0.0.0", "192.0.2.1", "::"}) {
        CAPTURE(host);
        const auto bound = TelemetryServer::bind({.host = host, .token = Secret("t")});
        REQUIRE_FALSE(bound);
        CHECK(bound.error().code == ErrorCode::config);
    }
    const Served served;
    const auto again = TelemetryServer::bind({.port = served.port});
    REQUIRE_FALSE(again);
    CHECK(again.error().code == ErrorCode::unreachable);
    CHECK(again.error().message.find(std::to_string(served.port)) != std::string::npos);
}

TEST_CASE("over TLS, with a certificate that clients verify") {
    const TempDir directory;
    const std::string cert = directory.file("cert.pem");
    const std::string key = directory.file("key.pem");
    const RunResult made = run(
        {"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert},
        milliseconds(30'000));
    REQUIRE_MESSAGE(made.code == 0, made.err);
    const Served served({.token = Secret("t"), .cert_file = cert, .key_file = key});
    CHECK(served.server->url().starts_with("https://127.0.0.1:"));
    httplib::SSLClient client("127.0.0.1", served.port);
    client.set_ca_cert_path(cert.c_str());
    client.enable_server_certificate_verification(true);
    REQUIRE(eventually(milliseconds(5'000), [&] {
        const auto answer = client.Get("/status?token=t");
        return answer && answer->status == 200;
    }));
    CHECK_FALSE(served.client().Get("/livez"));  // not in the clear
    const auto bound = TelemetryServer::bind({.cert_file = key, .key_file = key});
    REQUIRE_FALSE(bound);
    CHECK(bound.error().code == ErrorCode::config);
    // TLS alone lets everybody read who reaches the address; on loopback it may.
    for (const char* host : {"0.0.0.0", "192.0.2.1", "::"}) {
        CAPTURE(host);
        const auto open = TelemetryServer::bind({.host = host, .cert_file = cert, .key_file = key});
        REQUIRE_FALSE(open);
        CHECK(open.error().code == ErrorCode::config);
        CHECK(open.error().message.find("token") != std::string::npos);
    }
    CHECK(TelemetryServer::bind({.cert_file = cert, .key_file = key}));
}

TEST_CASE("followers are bounded; one that does not read is dropped and counted") {
    Served served;
    auto client = served.client();
    // It asks and never reads: a large event fills what the kernel keeps for it.
    const int slow = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(served.port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(slow, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
    const std::string ask = "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    REQUIRE(::write(slow, ask.data(), ask.size()) == static_cast<ssize_t>(ask.size()));
    const auto metric = [&](const std::string& line) {
        return client.Get("/metrics")->body.find("\n" + line + "\n") != std::string::npos;
    };
    REQUIRE(eventually(milliseconds(5'000), [&] { return metric("exodus_telemetry_clients 1"); }));
    for (int i = 0; i < 16; ++i) served.source.add_event("warn", 1 << 20);
    CHECK(eventually(milliseconds(limits::kTelemetryWrite_ms + 10'000), [&] {
        return metric("exodus_telemetry_clients_dropped_total 1") &&
               metric("exodus_telemetry_clients 0");
    }));
    ::close(slow);
}
