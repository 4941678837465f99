// Hazard: an operator decides by what telemetry shows. Its metrics must be those of the manual, an
// endpoint that hangs must not stop it, and its events must be those of the state file, each once,
// over a restart of the interlay.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <httplib.h>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>
#include <thread>

#include "telemetry/limits.h"
#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;
using nlohmann::json;

namespace {

struct Watched {
    explicit Watched(RigOptions options = {}, std::string secret = {})
        : port(free_port()), token(std::move(secret)), rig(with_http(std::move(options))) {
        if (!token.empty()) write_file(rig.file("token"), token);
        rig.expect(0, {"init", "redis"});
        rig.start_interlay();
    }
    RigOptions with_http(RigOptions options) const {
        options.config.emplace_back("interlay", fmt::format("http = \"127.0.0.1:{}\"", port));
        if (!token.empty()) options.config.emplace_back("interlay", "http_token_file = \"token\"");
        return options;
    }
    [[nodiscard]] std::string get(const std::string& path) const {
        httplib::Client client("127.0.0.1", port);
        if (!token.empty()) client.set_bearer_token_auth(token);
        const auto answer = client.Get(path);
        return answer && answer->status == 200 ? answer->body : std::string();
    }
    [[nodiscard]] json status() const { return json::parse(get("/status"), nullptr, false); }
    /// What /readyz says, ready or not; empty when nobody answers.
    [[nodiscard]] std::string readiness() const {
        const auto answer = httplib::Client("127.0.0.1", port).Get("/readyz");
        return answer ? std::to_string(answer->status) + " " + answer->body : std::string();
    }

    const int port;
    const std::string token;
    Rig rig;
};

/// What follows "event: event" of a stream, as (id, data); stops when `stop` says so.
class Follower {
  public:
    explicit Follower(int port) : port_(port), thread_([this] { run(); }) {}
    ~Follower() { end(); }
    void end() {
        stop_ = true;
        if (thread_.joinable()) thread_.join();
    }
    std::vector<int64_t> ids() {
        const std::lock_guard lock(mutex_);
        return ids_;
    }
    [[nodiscard]] int connects() const { return connects_; }

  private:
    void run() {
        while (!stop_) {
            httplib::Client client("127.0.0.1", port_);
            client.set_read_timeout(std::chrono::seconds(10));
            std::string text;
            ++connects_;
            static_cast<void>(client.Get(
                "/events?since=0",
                last_.empty() ? httplib::Headers{} : httplib::Headers{{"Last-Event-ID", last_}},
                [&](const char* data, std::size_t size) {
                    text.append(data, size);
                    take(text);
                    return !stop_;
                }));
            sleep_ms(50);
        }
    }
    void take(std::string& text) {
        for (auto end = text.find("\n\n"); end != std::string::npos; end = text.find("\n\n")) {
            const std::string block = text.substr(0, end);
            text.erase(0, end + 2);
            if (!block.starts_with("id: ")) continue;
            last_ = block.substr(4, block.find('\n') - 4);
            const std::lock_guard lock(mutex_);
            ids_.push_back(std::stoll(last_));
        }
    }

    const int port_;
    std::atomic<bool> stop_{false};
    std::atomic<int> connects_{0};
    std::mutex mutex_;
    std::vector<int64_t> ids_;
    std::string last_;  ///< the follower's thread only
    std::thread thread_;
};

/// How often an event of this code was told, about this side (or whatever).
std::size_t times_told(Rig& rig, const std::string& code, const std::string& about = "") {
    std::size_t found = 0;
    std::istringstream lines(rig.expect(0, {"events", "--json"}));
    for (std::string line; std::getline(lines, line);) {
        const json row = json::parse(line, nullptr, false);
        if (row.value("code", "") != code) continue;
        if (about.empty() || row.at("data").value("about", "") == about) ++found;
    }
    return found;
}

/// A key that only the target has, read again and again: one answer differs while compare looks.
std::jthread read_a_difference(Rig& rig) {
    send_command(own(rig.target()).get(), {"SET", "only:target", "x"});
    return std::jthread([&rig](const std::stop_token& stop) {
        const auto client = connect_to(rig.port(), milliseconds(2'000));
        send_command(client.get(), {"AUTH", Rig::kUser, Rig::kPassword});
        while (!stop.stop_requested()) {
            send_command(client.get(), {"GET", "only:target"});
            sleep_ms(20);
        }
    });
}

/// The newest sample of it; null before there is one.
json sample_of_the_difference(const Watched& watched) {
    const json status = watched.status();
    if (!status.is_object()) return {};  // asked again
    for (const json& sample : status.at("divergences").at("samples")) {
        if (sample.at("class") == "GET" && sample.at("kind") == "confirmed") return sample;
    }
    return {};
}

/// Names of families in exposition text.
void note_names(const std::string& text, std::set<std::string>& names) {
    static const std::regex help("(?:^|\n)# TYPE (exodus_[a-z0-9_]+) ");
    for (auto it = std::sregex_iterator(text.begin(), text.end(), help);
         it != std::sregex_iterator(); ++it)
        names.insert((*it)[1]);
}

std::set<std::string> documented() {
    const std::string page = read_file(std::string(EXODUS_SOURCE_DIR) + "/man/exodus-metrics.7");
    static const std::regex bold(R"(\\fB(exodus_[a-z0-9_]+)\\fR)");
    std::set<std::string> names;
    for (auto it = std::sregex_iterator(page.begin(), page.end(), bold);
         it != std::sregex_iterator(); ++it)
        names.insert((*it)[1]);
    return names;
}

std::string listed(const std::set<std::string>& names, const std::set<std::string>& without) {
    std::string out;
    for (const std::string& name : names) {
        if (!without.contains(name)) out += name + " ";
    }
    return out;
}

}  // namespace

TEST_CASE("the metrics of a whole migration are those of exodus-metrics(7)") {
    RigOptions options;
    options.config = {{"compare", "budget = 0.05"},
                      {"compare", "confidence = 0.9"},
                      {"gates", "compare_samples_min = 300"},
                      {"migrate.throttle", "bytes_per_s = \"2MiB\""}};
    Watched watched(options);
    Rig& rig = watched.rig;
    fill_server(own(rig.source()).get(), 60'000, 3);
    std::set<std::string> served;
    std::string newest;
    std::jthread scraper([&](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            if (std::string text = watched.get("/metrics"); !text.empty()) {
                note_names(text, served);
                newest = std::move(text);
            }
            sleep_ms(100);
        }
    });
    Ledger ledger(load_through(rig));
    ledger.start();
    wait_for_load(ledger, 1'000);
    {
        // Not RESP: a protocol error.
        const auto broken = connect_to(rig.port(), milliseconds(2'000));
        CHECK(::write(broken->fd, "*1\r\n$x\r\n", 8) == 8);
    }
    rig.bring_to_ready();
    {
        const std::jthread reader = read_a_difference(rig);
        // Not until it has enough: until the difference is certainly among what was looked at.
        Process compare = rig.begin(
            {"compare", "--mode", "reads", "--min-samples", "100000000", "--duration", "8s"});
        CHECK(eventually(milliseconds(5'000), [&] {
            const json running = watched.status().at("running");
            return running.is_object() && running.at("phase") == "compare" &&
                   running.at("pid") == compare.pid();
        }));
        CHECK(compare.wait(milliseconds(60'000)).has_value());
        CHECK(eventually(milliseconds(5'000),
                         [&] { return watched.status().at("running").is_null(); }));
    }
    CHECK(eventually(milliseconds(5'000),
                     [&] { return watched.status().at("divergences").at("total") > 0; }));
    // Nobody is asked who they are: the application's keys and values are not told.
    const json kept = sample_of_the_difference(watched);
    REQUIRE(kept.is_object());
    for (const char* name : {"request", "authority_answer", "other_answer"})
        CHECK(kept.at(name).is_null());
    CHECK(watched.get("/status").find("only:target") == std::string::npos);
    send_command(own(rig.target()).get(), {"DEL", "only:target"});
    static_cast<void>(rig.exodus({"compare"}));  // of the data, too
    rig.do_switch();
    CHECK(eventually(milliseconds(10'000), [&] {
        return watched.get("/metrics").find("\nexodus_authority{side=\"target\"} 1\n") !=
               std::string::npos;
    }));
    CHECK(eventually(milliseconds(5'000), [&] {
        const json switches = watched.status().at("switches");
        return !switches.empty() && switches.at(0).at("what") == "switch";
    }));
    rig.do_rollback();
    CHECK(eventually(milliseconds(10'000),
                     [&] { return watched.status().value("authority", "") == "source"; }));
    sleep_ms(1'500);
    scraper.request_stop();
    scraper.join();
    CHECK(listed(served, documented()) == "");
    CHECK(listed(documented(), served) == "");
    write_file(rig.file("metrics"), newest);
    Process lint({"promtool", "check", "metrics"}, {.environment = {},
                                                    .directory = {},
                                                    .output = rig.file("lint"),
                                                    .errors = {},
                                                    .input = rig.file("metrics")});
    CHECK(lint.wait(milliseconds(10'000)).value_or(1) == 0);
    CHECK(read_file(rig.file("lint")) == "");
    check_ledger(ledger, rig.source());
}

TEST_CASE("with a token a divergence shows what was asked and answered") {
    RigOptions options;
    options.config = {{"compare", "budget = 0.05"}, {"gates", "compare_samples_min = 300"}};
    Watched watched(options, "s3cret-token");
    Rig& rig = watched.rig;
    CHECK(eventually(milliseconds(5'000), [&] {
        const auto refused = httplib::Client("127.0.0.1", watched.port).Get("/status");
        return refused && refused->status == 401;
    }));
    Ledger ledger(load_through(rig));
    ledger.start();
    wait_for_load(ledger, 1'000);
    rig.bring_to_ready();
    {
        const std::jthread reader = read_a_difference(rig);
        static_cast<void>(rig.exodus(
            {"compare", "--mode", "reads", "--min-samples", "100000000", "--duration", "8s"}));
    }
    CHECK(eventually(milliseconds(5'000),
                     [&] { return sample_of_the_difference(watched).is_object(); }));
    const json sample = sample_of_the_difference(watched);
    REQUIRE(sample.is_object());
    CHECK(sample.at("request").get<std::string>().find("only:target") != std::string::npos);
    CHECK(sample.at("other_answer").get<std::string>().find("\\r\\nx\\r\\n") != std::string::npos);
    CHECK(sample.at("authority_answer").get<std::string>().find('x') == std::string::npos);
    ledger.stop();
}

TEST_CASE("events over a restart of the interlay: each once, none missing") {
    Watched watched;
    Rig& rig = watched.rig;
    Follower follower(watched.port);
    Ledger ledger(load_through(rig));
    ledger.start();
    wait_for_load(ledger, 1'000);
    rig.bring_to_ready();
    rig.kill_interlay();
    rig.exodus({"approve", "switch", "--reason", "while no interlay runs"});
    rig.start_interlay();
    wait_for_load(ledger, 500);
    rig.do_switch();
    CHECK(rig.take_over() == 0);
    rig.do_rollback();
    check_ledger(ledger, rig.source());
    std::vector<int64_t> rows;
    std::istringstream lines(rig.expect(0, {"events", "--json"}));
    for (std::string line; std::getline(lines, line);) {
        const json row = json::parse(line, nullptr, false);
        if (row.value("type", "") == "event") rows.push_back(row.at("id").get<int64_t>());
    }
    REQUIRE(rows.size() > 10);
    CHECK(eventually(milliseconds(10'000), [&] { return follower.ids().size() >= rows.size(); }));
    follower.end();
    auto seen = follower.ids();
    REQUIRE(seen.size() >= rows.size());
    seen.resize(rows.size());  // what came behind the list
    CHECK(seen == rows);
    CHECK(follower.connects() > 2);

    // Another configuration: gates are judged by it at once, the interlay works with it when
    // another process took over, and that one knows what was told.
    const std::string file = rig.file("exodus.toml");
    const std::string before = read_file(file);
    CHECK(watched.status().at("config_changed") == "");
    CHECK(watched.status().at("gates").at(1).at("verdict") == "PASS");
    write_file(file,
               before + "[[compare.rule]]\ncommands = [\"SMEMBERS\"]\naction = \"unordered\"\n");
    CHECK(eventually(milliseconds(20'000),
                     [&] { return watched.status().value("config_changed", "") != ""; }));
    const json changed = watched.status();
    CHECK(changed.at("gates").at(1).at("gate") == "analyze");
    CHECK(changed.at("gates").at(1).at("verdict") == "STALE");
    CHECK(last_result(rig.expect(0, {"status", "--json"})).at("config_changed") ==
          changed.at("config_changed"));
    const RunResult warned = rig.exodus({"migrate", "--until", "ready"});
    CHECK(warned.err.find(changed.at("config_changed")) != std::string::npos);
    CHECK(eventually(milliseconds(20'000), [&] { return times_told(rig, "config.changed") == 1; }));
    CHECK(rig.take_over() == 0);
    CHECK(eventually(milliseconds(20'000),
                     [&] { return times_told(rig, "config.changed-over") == 1; }));
    CHECK(watched.status().at("config_changed") == "");
    write_file(file, before + "unknown = 1\n");
    CHECK(eventually(milliseconds(20'000), [&] {
        return watched.status().value("config_changed", "").find("exodus.toml:") !=
               std::string::npos;
    }));
    CHECK(times_told(rig, "config.changed-over") == 1);
    write_file(file, before);
}

TEST_CASE("an endpoint that hangs is shown as such, and what is shown stays live") {
    Watched watched;
    Rig& rig = watched.rig;
    Ledger ledger(load_through(rig));
    ledger.start();
    wait_for_load(ledger, 1'000);
    rig.bring_to_ready();
    REQUIRE(eventually(milliseconds(10'000), [&] {
        return watched.status().at("target").at("health").at("reachable") == true;
    }));
    const auto rate = [&] {
        const json now = watched.status();
        return now.is_object() ? now.at("forward").at("changes_per_s").get<double>() : -1;
    };
    REQUIRE(eventually(milliseconds(20'000), [&] {
        const json forward = watched.status().at("forward");
        return forward.at("changes_per_s") > 0 && forward.at("batch_p99_us") > 0;
    }));
    rig.target().freeze(true);
    CHECK(eventually(milliseconds(20'000), [&] {
        return watched.status().at("target").at("health").at("reachable") == false;
    }));
    CHECK(watched.status().at("target").at("health").at("silent") == true);
    // A rate that nothing moves is no rate.
    CHECK(eventually(milliseconds(20'000), [&] { return rate() == 0; }));
    CHECK(watched.status().at("forward").at("batch_p99_us").is_null());
    for (int i = 0; i < 20; ++i) {
        const json now = watched.status();
        CHECK(now.at("now_ms").get<int64_t>() - now.at("at_ms").get<int64_t>() <=
              limits::kTelemetryStale_ms);
        CHECK(watched.get("/readyz") == "ok\n");
        sleep_ms(200);
    }
    CHECK(watched.status().at("source").at("health").at("reachable") == true);
    wait_for_load(ledger, 500);  // applications notice nothing
    CHECK(eventually(milliseconds(20'000),
                     [&] { return times_told(rig, "endpoint.down", "target") == 1; }));
    // The process that told it is gone; the next one tells its end, and nothing twice.
    rig.kill_interlay();
    rig.start_interlay();
    rig.target().freeze(false);
    CHECK(eventually(milliseconds(20'000), [&] { return rate() > 0; }));
    CHECK(eventually(milliseconds(20'000),
                     [&] { return times_told(rig, "endpoint.down-over", "target") == 1; }));
    CHECK(times_told(rig, "endpoint.down", "target") == 1);
    check_equal(rig, ledger);
    check_ledger(ledger, rig.source());

    // What drains takes no more clients; the one that it waits for keeps it alive.
    const auto client = connect_to(rig.port(), milliseconds(2'000));
    send_command(client.get(), {"AUTH", Rig::kUser, Rig::kPassword});
    send_command(client.get(), {"MULTI"});
    CHECK(watched.readiness() == "200 ok\n");
    rig.expect(0, {"ctl", "drain"});
    CHECK(eventually(milliseconds(20'000),
                     [&] { return watched.readiness().starts_with("503 draining"); }));
    CHECK(watched.get("/livez") == "ok\n");
    send_command(client.get(), {"EXEC"});
    CHECK(eventually(milliseconds(20'000), [&] { return !rig.interlay_running(); }));
}

TEST_CASE("soak: the number of series stays, whatever comes" * doctest::skip()) {
    // Ten minutes, or EXODUS_SOAK_S: new keys, clients and made-up commands all the time.
    const char* named = std::getenv("EXODUS_SOAK_S");
    const int64_t span_s = named != nullptr ? std::stoll(named) : 600;
    Watched watched;
    Rig& rig = watched.rig;
    Ledger ledger(load_through(rig));
    ledger.start();
    wait_for_load(ledger, 1'000);
    rig.bring_to_ready();
    std::vector<std::unique_ptr<Follower>> followers;
    for (int i = 0; i < 20; ++i) followers.push_back(std::make_unique<Follower>(watched.port));
    std::jthread odd([&](const std::stop_token& stop) {
        for (uint64_t i = 0; !stop.stop_requested(); ++i) {
            const auto client = connect_to(rig.port(), milliseconds(5'000));
            send_command(client.get(), {"AUTH", Rig::kUser, Rig::kPassword});
            send_command(client.get(), {fmt::format("MADE.UP{}", i), "x"});
            send_command(client.get(), {"SET", fmt::format("odd:{}", i), "1", "EX", "60"});
            if (i % 50 == 0) static_cast<void>(::write(client->fd, "*1\r\n$x\r\n", 8));
            sleep_ms(20);
        }
    });
    const auto series = [&] {
        const std::string text = watched.get("/metrics");
        return std::count(text.begin(), text.end(), '\n') -
               std::count(text.begin(), text.end(), '#');
    };
    sleep_ms(20'000);
    const auto first = series();
    auto most = first;
    const Deadline end = Deadline::in(milliseconds(span_s * 1'000));
    while (!end.passed()) {
        most = std::max(most, series());
        sleep_ms(1'000);
    }
    MESSAGE("series after 20 s: ", first, ", at most: ", most, " within ", span_s, " s");
    CHECK(most <= first + 10);
    odd.request_stop();
    odd.join();
    ledger.stop();
}
