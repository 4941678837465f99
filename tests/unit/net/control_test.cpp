// Both ends of the control channel, and what comes from neither.
#include <atomic>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>

#include "base/limits.h"
#include "net/control_client.h"
#include "net/control_server.h"
#include "net/control_wire.h"
#include "net/listener.h"
#include "net/resolve.h"
#include "tests/support/process.h"

using namespace exodus;
using nlohmann::json;

namespace {

std::unique_ptr<ControlServer> serve(const std::string& path, std::atomic<bool>* gate = nullptr) {
    ControlServer::Options options;
    options.path = path;
    options.handlers["echo"] = [](const json& request) -> Result<json> {
        return json{{"text", request.at("text").get<std::string>()}};
    };
    options.handlers["fail"] = [](const json&) -> Result<json> {
        return fail(ErrorCode::safety, "it would lose writes", "do not");
    };
    options.handlers["block"] = [gate](const json&) -> Result<json> {
        test::eventually(milliseconds(10'000), [gate] { return gate->load(); });
        return json::object();
    };
    auto server = ControlServer::start(std::move(options));
    REQUIRE_MESSAGE(server.has_value(), (server ? "" : server.error().message));
    return std::move(*server);
}

FileDescriptor raw_connection(const std::string& path) {
    FileDescriptor fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    auto address = unix_address(path);
    REQUIRE(::connect(fd.get(), address->raw(), address->length) == 0);
    return fd;
}

json raw_answer(int fd) {
    LineReader reader(fd);
    auto line = reader.next(Deadline::in(milliseconds(5000)));
    REQUIRE(line.has_value());
    return json::parse(*line);
}

constexpr milliseconds kPatience{5000};

}  // namespace

TEST_CASE("answers, errors with code and hint, unknown operations") {
    test::TempDir directory;
    const std::string path = directory.file("c.sock");
    const auto server = serve(path);
    struct stat info {};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    const auto client = make_control_client(path);
    auto answer = client->call({{"op", "echo"}, {"text", "a\nb\xff"}}, kPatience);
    REQUIRE_MESSAGE(answer.has_value(), answer.error().message);
    CHECK((*answer)["text"].get<std::string>().starts_with("a\nb"));
    answer = client->call({{"op", "fail"}}, kPatience);
    REQUIRE_FALSE(answer.has_value());
    CHECK(answer.error().code == ErrorCode::safety);
    CHECK(answer.error().message == "it would lose writes");
    CHECK(answer.error().hint == "do not");
    answer = client->call({{"op", "nonsense"}}, kPatience);
    REQUIRE_FALSE(answer.has_value());
    CHECK(answer.error().code == ErrorCode::usage);
    // A field of the wrong type does not end the server.
    answer = client->call({{"op", "echo"}, {"text", 7}}, kPatience);
    REQUIRE_FALSE(answer.has_value());
    CHECK(answer.error().code == ErrorCode::data);
    CHECK(client->call({{"op", "echo"}, {"text", "still here"}}, kPatience).has_value());
}

TEST_CASE("bad input is answered; the bound of a message holds; a vanished client hurts nobody") {
    test::TempDir directory;
    const std::string path = directory.file("c.sock");
    const auto server = serve(path);
    for (const std::string line : {"{not json", "[1,2]", "{\"op\":5}", ""}) {
        const auto fd = raw_connection(path);
        REQUIRE(send_line(fd.get(), line, Deadline::in(kPatience)));
        const json answer = raw_answer(fd.get());
        CHECK(answer["ok"] == false);
        CHECK(answer["code"] == "data");
    }
    {
        const auto fd = raw_connection(path);
        std::thread writer([&] {
            (void)send_line(fd.get(), std::string(limits::kControlMessage_bytes * 2, 'x'),
                            Deadline::in(kPatience));
        });
        const json answer = raw_answer(fd.get());
        CHECK(answer["code"] == "data");
        ::shutdown(fd.get(), SHUT_RDWR);
        writer.join();
    }
    {
        const auto fd = raw_connection(path);
        REQUIRE(send_line(fd.get(), R"({"op":"echo","text":"x"})", Deadline::in(kPatience)));
    }
    CHECK(make_control_client(path)->call({{"op", "echo"}, {"text", "x"}}, kPatience).has_value());
}

TEST_CASE("a blocked handler delays nobody else; a caller gets its timeout; the count is bounded") {
    test::TempDir directory;
    const std::string path = directory.file("c.sock");
    std::atomic<bool> gate{false};
    auto server = serve(path, &gate);
    const auto client = make_control_client(path);
    auto late = client->call({{"op", "block"}}, milliseconds(50));
    REQUIRE_FALSE(late.has_value());
    CHECK(late.error().code == ErrorCode::timeout);
    std::vector<std::thread> callers;
    std::atomic<int> done{0};
    for (int i = 0; i < 8; ++i) {
        callers.emplace_back([&] {
            for (int k = 0; k < 50; ++k) {
                if (client->call({{"op", "echo"}, {"text", "x"}}, kPatience)) ++done;
            }
        });
    }
    for (auto& caller : callers) caller.join();
    CHECK(done == 400);
    std::vector<FileDescriptor> idle;
    for (std::size_t i = 0; i < limits::kControlClients_max + 4; ++i)
        idle.push_back(raw_connection(path));
    const json answer = raw_answer(idle.back().get());
    CHECK(answer["code"] == "locked");
    // One that ends soon makes room for the next caller.
    std::thread leaves([&] {
        std::this_thread::sleep_for(milliseconds(20));
        idle.front().reset();
    });
    CHECK(client->call({{"op", "echo"}, {"text", "x"}}, kPatience).has_value());
    leaves.join();
    idle.clear();
    gate = true;
    server.reset();
    CHECK(::access(path.c_str(), F_OK) != 0);
    auto gone = client->call({{"op", "echo"}}, kPatience);
    REQUIRE_FALSE(gone.has_value());
    CHECK(gone.error().code == ErrorCode::unreachable);
}

TEST_CASE(
    "the path: a live server keeps it, a dead one's is replaced, other files are left alone") {
    test::TempDir directory;
    const std::string path = directory.file("c.sock");
    {
        const auto first = serve(path);
        auto second = ControlServer::start({.path = path, .handlers = {}, .listeners = {}});
        REQUIRE_FALSE(second.has_value());
        CHECK(second.error().code == ErrorCode::locked);
        // After a takeover the newcomer takes the path, and the first one's end leaves it.
        auto heir =
            ControlServer::start({.path = path, .handlers = {}, .listeners = {}, .replace = true});
        REQUIRE(heir.has_value());
    }
    {
        // A socket file whose process is gone.
        FileDescriptor dead(::socket(AF_UNIX, SOCK_STREAM, 0));
        auto address = unix_address(path);
        REQUIRE(::bind(dead.get(), address->raw(), address->length) == 0);
    }
    CHECK(::access(path.c_str(), F_OK) == 0);
    { const auto again = serve(path); }
    test::write_file(path, "precious");
    auto refused = ControlServer::start({.path = path, .handlers = {}, .listeners = {}});
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code == ErrorCode::cannot_create);
    CHECK(test::read_file(path) == "precious");
    auto too_long = ControlServer::start(
        {.path = "/tmp/" + std::string(200, 'x'), .handlers = {}, .listeners = {}});
    REQUIRE_FALSE(too_long.has_value());
    CHECK(too_long.error().code == ErrorCode::usage);
    auto nowhere = ControlServer::start(
        {.path = directory.file("no/such/c.sock"), .handlers = {}, .listeners = {}});
    CHECK_FALSE(nowhere.has_value());
}

TEST_CASE("listen addresses, and sockets that go to another process") {
    CHECK(parse_listen_address("10.0.0.1:80")->host == "10.0.0.1");
    CHECK(parse_listen_address("[::1]:80")->host == "::1");
    CHECK(parse_listen_address(":80")->host.empty());
    CHECK(parse_listen_address("unix:/run/x")->unix_path == "/run/x");
    for (const char* bad :
         {"", "80", "host", "host:", "host:70000", "host:8x", "::1:80", "[::1:80", "unix:"})
        CHECK_FALSE_MESSAGE(parse_listen_address(bad).has_value(), bad);

    auto listener = Listener::bind({"127.0.0.1:0"});
    REQUIRE(listener.has_value());
    auto taken = Listener::bind({(*listener)->addresses()[0]});
    REQUIRE_FALSE(taken.has_value());
    CHECK(taken.error().code == ErrorCode::cannot_create);
    test::TempDir directory;
    ControlServer::Options options;
    options.path = directory.file("c.sock");
    options.handlers[control_op::kTakeover] = [](const json&) -> Result<json> {
        return json::object();
    };
    options.listeners = [&] { return (*listener)->duplicate(); };
    auto server = ControlServer::start(std::move(options));
    auto sockets = take_listeners((*server)->path(), kPatience);
    REQUIRE_MESSAGE(sockets.has_value(), sockets.error().message);
    auto adopted = Listener::adopt(std::move(*sockets));
    REQUIRE(adopted.has_value());
    CHECK((*adopted)->addresses() == (*listener)->addresses());
}
