// TLS without a socket: two engines that are fed each other's bytes, whole and in pieces.
#include "net/tls_engine.h"

#include <array>
#include <doctest/doctest.h>

#include "certificates.h"

using namespace exodus;
using test::certificates;

namespace {

std::unique_ptr<TlsContext> context(TlsRole role, const TlsSettings& settings,
                                    bool require = false) {
    auto made = TlsContext::make(role, settings, require);
    REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
    return std::move(*made);
}

struct Pair {
    std::unique_ptr<TlsEngine> client;
    std::unique_ptr<TlsEngine> server;
    Status client_status;
    Status server_status;

    Pair(const TlsContext& client_context, const TlsContext& server_context,
         const std::string& host = "db.example") {
        client = std::move(*TlsEngine::make(client_context, host, "db.example:6379"));
        server = std::move(*TlsEngine::make(server_context, {}, "client 10.0.0.1"));
        client_status = client->start();
    }
    /// Moves bytes both ways in pieces of `piece` until nothing moves any more.
    void pump(std::size_t piece = 1 << 20) {
        bool moved = true;
        while (moved) {
            moved = carry(*client, *server, server_status, piece);
            moved = carry(*server, *client, client_status, piece) || moved;
        }
    }
    static bool carry(TlsEngine& from, TlsEngine& to, Status& status, std::size_t piece) {
        const std::string bytes(from.outgoing());
        from.clear_outgoing();
        for (std::size_t at = 0; at < bytes.size() && status; at += piece)
            status = to.feed(std::string_view(bytes).substr(at, piece));
        return !bytes.empty();
    }
};

std::string read_all(TlsEngine& engine) {
    std::string all;
    std::array<char, 1000> buffer;
    while (true) {
        auto count = engine.read(buffer);
        REQUIRE(count.has_value());
        if (*count == 0) return all;
        all.append(buffer.data(), *count);
    }
}

}  // namespace

TEST_CASE("bytes go both ways, however the ciphertext is cut") {
    const auto client = context(TlsRole::client, certificates().client());
    const auto server = context(TlsRole::server, certificates().server("good"));
    for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{100'000}}) {
        Pair pair(*client, *server);
        pair.pump(piece);
        REQUIRE(pair.client->established());
        REQUIRE(pair.server->established());
        const std::string large(100'000, 'x');
        REQUIRE(pair.client->write("hello"));
        REQUIRE(pair.client->write(large));
        REQUIRE(pair.server->write("world"));
        pair.pump(piece);
        CHECK(read_all(*pair.server) == "hello" + large);
        CHECK(read_all(*pair.client) == "world");
        pair.client->close_notify();
        pair.pump(piece);
        CHECK(read_all(*pair.server).empty());
        CHECK(pair.server->closed());
    }
}

TEST_CASE("a certificate that does not hold is refused, and the error says why") {
    const auto client = context(TlsRole::client, certificates().client());
    struct Case {
        const char* leaf;
        const char* host;
        const char* says;
    };
    for (const Case& one :
         {Case{"expired", "db.example", "it expired on "},
          Case{"wrong-host", "db.example", "it is for elsewhere.example, not for db.example"},
          Case{"good", "10.1.1.1", "not for 10.1.1.1"},
          Case{"foreign", "db.example", "its issuer is not trusted"}}) {
        CAPTURE(one.leaf);
        const auto server = context(TlsRole::server, certificates().server(one.leaf));
        Pair pair(*client, *server, one.host);
        pair.pump();
        REQUIRE_FALSE(pair.client_status.has_value());
        CHECK(pair.client_status.error().code == ErrorCode::permission);
        CHECK(pair.client_status.error().message.find(
                  "the certificate of db.example:6379 is not accepted") == 0);
        CHECK_MESSAGE(pair.client_status.error().message.find(one.says) != std::string::npos,
                      pair.client_status.error().message);
        CHECK_FALSE(pair.client->established());
        // The server learns it too.
        CHECK_FALSE(pair.server_status.has_value());
    }
}

TEST_CASE("verification by address, by another name, and switched off") {
    const auto server = context(TlsRole::server, certificates().server("good"));
    {
        const auto client = context(TlsRole::client, certificates().client());
        Pair pair(*client, *server, "127.0.0.1");
        pair.pump();
        CHECK(pair.client->established());
    }
    auto named = certificates().client();
    named.server_name = "db.example";
    {
        const auto client = context(TlsRole::client, named);
        Pair pair(*client, *server, "10.9.9.9");
        pair.pump();
        CHECK(pair.client->established());
    }
    auto off = certificates().client();
    off.verify = false;
    {
        const auto client = context(TlsRole::client, off);
        const auto foreign = context(TlsRole::server, certificates().server("foreign"));
        Pair pair(*client, *foreign, "whatever");
        pair.pump();
        CHECK(pair.client->established());
    }
}

TEST_CASE("mTLS: a missing certificate is named at both ends, a good one gives its subject") {
    const auto server = context(TlsRole::server, certificates().server("good", "ca"), true);
    {
        const auto client = context(TlsRole::client, certificates().client("client"));
        Pair pair(*client, *server);
        pair.pump();
        REQUIRE(pair.server->established());
        CHECK(pair.server->peer_subject() == "CN=app");
    }
    {
        const auto client = context(TlsRole::client, certificates().client());
        Pair pair(*client, *server);
        pair.pump();
        REQUIRE_FALSE(pair.server_status.has_value());
        CHECK(pair.server_status.error().message.find("sent no client certificate") !=
              std::string::npos);
        // In TLS 1.3 the client learns it after its own side is done.
        if (pair.client_status) {
            std::array<char, 10> buffer;
            auto count = pair.client->read(buffer);
            REQUIRE_FALSE(count.has_value());
            CHECK(count.error().message.find("demands a client certificate") != std::string::npos);
        } else {
            CHECK(pair.client_status.error().message.find("certificate") != std::string::npos);
        }
    }
    {
        const auto client = context(TlsRole::client, certificates().client("foreign"));
        Pair pair(*client, *server);
        pair.pump();
        CHECK_FALSE(pair.server->established());
    }
}

TEST_CASE("garbage and plain text end the handshake with an error, not with a wait") {
    const auto client = context(TlsRole::client, certificates().client());
    auto engine = std::move(*TlsEngine::make(*client, "db.example", "db.example:6379"));
    REQUIRE(engine->start());
    auto fed = engine->feed("-ERR unknown command\r\n");
    REQUIRE_FALSE(fed.has_value());
    CHECK(fed.error().message == "db.example:6379 does not speak TLS on this port");
}

TEST_CASE("files that cannot be used are named; a failed reload keeps what was loaded") {
    TlsSettings settings = certificates().server("good");
    settings.key_file = certificates().file("client.key");
    auto made = TlsContext::make(TlsRole::server, settings);
    REQUIRE_FALSE(made.has_value());
    CHECK(made.error().message.find("does not belong to certificate") != std::string::npos);
    settings.key_file = "/nonexistent.key";
    made = TlsContext::make(TlsRole::server, settings);
    REQUIRE_FALSE(made.has_value());
    CHECK(made.error().code == ErrorCode::no_input);
    CHECK(made.error().message.find("/nonexistent.key") != std::string::npos);
    CHECK_FALSE(TlsContext::make(TlsRole::server, {}).has_value());

    test::TempDir directory;
    settings = certificates().server("good");
    settings.cert_file = directory.file("live.pem");
    test::write_file(settings.cert_file, test::read_file(certificates().file("good.pem")));
    const auto server = context(TlsRole::server, settings);
    test::write_file(settings.cert_file, "nonsense");
    CHECK_FALSE(server->reload().has_value());
    const auto client = context(TlsRole::client, certificates().client());
    Pair pair(*client, *server);
    pair.pump();
    CHECK(pair.client->established());
}
