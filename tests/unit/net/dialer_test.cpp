// The blocking dialer against real servers, plain and TLS, and against silence.
#include "net/dialer.h"

#include <arpa/inet.h>
#include <array>
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <thread>

#include "certificates.h"
#include "tests/support/redis_server.h"

using namespace exodus;
using test::certificates;

namespace {

Endpoint local(int port) {
    Endpoint endpoint;
    endpoint.host = "127.0.0.1";
    endpoint.port = static_cast<uint16_t>(port);
    return endpoint;
}

std::string ask(ByteStream& stream, std::string_view request) {
    const Deadline deadline = Deadline::in(milliseconds(5000));
    auto written = stream.write(request, deadline);
    if (!written) return "write: " + written.error().message;
    std::array<char, 256> buffer;
    auto count = stream.read(buffer, deadline);
    return count ? std::string(buffer.data(), *count) : "read: " + count.error().message;
}

/// Listens and never answers.
struct Silent {
    int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int port = 0;
    Silent() {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0);
        REQUIRE(::listen(fd, 16) == 0);
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
        port = ntohs(address.sin_port);
    }
    ~Silent() { ::close(fd); }
};

}  // namespace

TEST_CASE("plain: TCP by address and name, Unix socket, nobody there, unknown name") {
    test::TempDir directory;
    const std::string path = directory.file("redis.sock");
    test::RedisServer server({.config = {"unixsocket " + path}, .acl = {}});
    const auto dialer = make_dialer();
    for (const std::string host : {"127.0.0.1", "localhost"}) {
        Endpoint endpoint = local(server.port());
        endpoint.host = host;
        auto stream = dialer->dial(endpoint, milliseconds(3000));
        REQUIRE_MESSAGE(stream.has_value(), stream.error().message);
        CHECK(ask(**stream, "PING\r\n") == "+PONG\r\n");
    }
    Endpoint unix_endpoint;
    unix_endpoint.unix_path = path;
    auto stream = dialer->dial(unix_endpoint, milliseconds(3000));
    REQUIRE(stream.has_value());
    CHECK(ask(**stream, "PING\r\n") == "+PONG\r\n");

    auto refused = dialer->dial(local(1), milliseconds(3000));
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code == ErrorCode::unreachable);
    CHECK(refused.error().message.find("127.0.0.1:1") != std::string::npos);
    Endpoint unknown = local(6379);
    unknown.host = "no-such-host.invalid";
    refused = dialer->dial(unknown, milliseconds(5000));
    REQUIRE_FALSE(refused.has_value());
}

TEST_CASE("a deadline ends a read; shutdown from another thread ends it at once; a close is told") {
    Silent silent;
    const auto dialer = make_dialer();
    auto stream = dialer->dial(local(silent.port), milliseconds(1000));
    REQUIRE(stream.has_value());
    std::array<char, 16> buffer;
    auto count = (*stream)->read(buffer, Deadline::in(milliseconds(30)));
    REQUIRE_FALSE(count.has_value());
    CHECK(count.error().code == ErrorCode::timeout);

    std::thread waker([&] {
        test::sleep_ms(30);
        (*stream)->shutdown();
    });
    const Deadline patience = Deadline::in(milliseconds(10'000));
    count = (*stream)->read(buffer, patience);
    waker.join();
    CHECK_FALSE(patience.passed());
    REQUIRE_FALSE(count.has_value());
    CHECK(count.error().code == ErrorCode::cancelled);
    auto written = (*stream)->write("x", patience);
    REQUIRE_FALSE(written.has_value());
    CHECK(written.error().code == ErrorCode::cancelled);

    stream = dialer->dial(local(silent.port), milliseconds(1000));
    REQUIRE(stream.has_value());
    for (int i = 0; i < 2; ++i) ::close(::accept(silent.fd, nullptr, nullptr));
    count = (*stream)->read(buffer, patience);
    REQUIRE_FALSE(count.has_value());
    CHECK(count.error().code == ErrorCode::unreachable);

    // TLS to something that never speaks ends as well.
    Endpoint endpoint = local(silent.port);
    endpoint.tls = certificates().client();
    auto tls = dialer->dial(endpoint, milliseconds(100));
    REQUIRE_FALSE(tls.has_value());
    CHECK(tls.error().code == ErrorCode::timeout);
}

TEST_CASE("TLS with a real server: verified, mTLS, wrong certificates, large values") {
    const int tls_port = test::free_port();
    test::RedisServer server(
        {.config = {"tls-port " + std::to_string(tls_port),
                    "tls-cert-file " + certificates().file("good.pem"),
                    "tls-key-file " + certificates().file("good.key"),
                    "tls-ca-cert-file " + certificates().file("ca.pem"), "tls-auth-clients yes"},
         .acl = {}});
    const auto dialer = make_dialer();
    Endpoint endpoint = local(tls_port);
    endpoint.tls = certificates().client("client");
    auto stream = dialer->dial(endpoint, milliseconds(3000));
    REQUIRE_MESSAGE(stream.has_value(), stream.error().message);
    CHECK(ask(**stream, "PING\r\n") == "+PONG\r\n");
    const std::string value(300'000, 'v');
    CHECK(ask(**stream, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$300000\r\n" + value + "\r\n") == "+OK\r\n");
    REQUIRE((*stream)->write("GET k\r\n", Deadline::in(milliseconds(5000))));
    std::string reply;
    while (reply.size() < value.size() + 11) {
        std::array<char, 50'000> buffer;
        auto count = (*stream)->read(buffer, Deadline::in(milliseconds(5000)));
        REQUIRE(count.has_value());
        reply.append(buffer.data(), *count);
    }
    CHECK(reply == "$300000\r\n" + value + "\r\n");

    endpoint.tls.server_name = "other.example";
    stream = dialer->dial(endpoint, milliseconds(3000));
    REQUIRE_FALSE(stream.has_value());
    CHECK(stream.error().code == ErrorCode::permission);
    CHECK(stream.error().message.find("not for other.example") != std::string::npos);

    // Without a client certificate: the refusal comes at the dial or, in TLS 1.3, at the first
    // read.
    endpoint.tls = certificates().client();
    stream = dialer->dial(endpoint, milliseconds(3000));
    std::string said = stream ? "" : stream.error().message;
    if (stream) {
        std::array<char, 16> buffer;
        auto count = (*stream)->read(buffer, Deadline::in(milliseconds(5000)));
        if (!count) said = count.error().message;
    }
    CHECK_MESSAGE(said.find("certificate") != std::string::npos, said);

    // TLS spoken to the plain port.
    endpoint.port = static_cast<uint16_t>(server.port());
    stream = dialer->dial(endpoint, milliseconds(3000));
    REQUIRE_FALSE(stream.has_value());
}
