// load_settings: precedence, every error at once with its line, secrets, URIs.
#include "config/config.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <sys/stat.h>

#include "base/values.h"
#include "tests/support/process.h"

using namespace exodus;
using exodus::test::TempDir;
using exodus::test::write_file;

namespace {

const std::vector<SchemeInfo> kSchemes = {{"redis", "redis", false, 6379},
                                          {"redis", "rediss", true, 6379},
                                          {"redis", "valkey", false, 6379},
                                          {"redis", "valkeys", true, 6379},
                                          {"other", "other", false, 1}};

struct Fixture {
    TempDir directory;
    std::map<std::string, std::string> environment;
    std::map<std::string, std::string> flags;

    ConfigInput input(const std::string& text) {
        write_file(directory.file("exodus.toml"), text);
        ConfigInput in;
        in.file = directory.file("exodus.toml");
        in.schemes = kSchemes;
        in.flags = flags;
        in.environment = [this](std::string_view name) -> std::optional<std::string> {
            const auto found = environment.find(std::string(name));
            if (found == environment.end()) return std::nullopt;
            return found->second;
        };
        return in;
    }
    Settings good(const std::string& text) {
        auto settings = load_settings(input(text));
        if (!settings) {
            for (const auto& error : settings.error()) MESSAGE(error.text());
        }
        REQUIRE(settings.has_value());
        return *settings;
    }
    std::vector<ConfigError> bad(const std::string& text) {
        auto settings = load_settings(input(text));
        REQUIRE_FALSE(settings.has_value());
        return settings.error();
    }
};

const std::string kEnds =
    "[source]\nuri = \"redis://app@a:7000/3\"\n[target]\nuri = \"rediss://b\"\n";

bool mentions(const std::vector<ConfigError>& errors, const std::string& text) {
    return std::any_of(errors.begin(), errors.end(), [&](const ConfigError& e) {
        return e.text().find(text) != std::string::npos;
    });
}

}  // namespace

TEST_CASE_FIXTURE(Fixture, "endpoints come from URIs") {
    const Settings s = good(kEnds);
    CHECK(s.family == "redis");
    CHECK(s.source.host == "a");
    CHECK(s.source.port == 7000);
    CHECK(s.source.user == "app");
    CHECK(s.source.database == 3);
    CHECK_FALSE(s.source.tls.enabled);
    CHECK(s.source.side == Side::source);
    CHECK(s.target.port == 6379);
    CHECK(s.target.tls.enabled);
    CHECK(s.target.tls.verify);
    CHECK(s.target.side == Side::target);
    CHECK(s.interlay.control == "exodus.db.sock");
    const Settings unix_and_v6 = good(
        "[source]\nuri = \"unix:///run/r.sock?db=2\"\nfamily = \"redis\"\n[target]\nuri = "
        "\"valkey://u%40x@[::1]:7001\"\n");
    CHECK(unix_and_v6.source.unix_path == "/run/r.sock");
    CHECK(unix_and_v6.source.database == 2);
    CHECK(unix_and_v6.target.host == "::1");
    CHECK(unix_and_v6.target.user == "u@x");
}

TEST_CASE_FIXTURE(Fixture, "flag before environment before file before default") {
    const std::string text = "[interlay]\nthreads = 2\nhttp = \"127.0.0.1:1\"\n" + kEnds;
    CHECK(good(kEnds).interlay.threads == 1);
    CHECK(good(text).interlay.threads == 2);
    environment["EXODUS_INTERLAY_THREADS"] = "3";
    CHECK(good(text).interlay.threads == 3);
    flags["interlay.threads"] = "4";
    flags["interlay.listen"] = "127.0.0.1:1234, unix:/tmp/x";
    const Settings s = good(text);
    CHECK(s.interlay.threads == 4);
    CHECK(s.interlay.http == "127.0.0.1:1");
    CHECK(s.interlay.listen == std::vector<std::string>{"127.0.0.1:1234", "unix:/tmp/x"});
}

TEST_CASE_FIXTURE(Fixture, "every error at once, in the order of the lines, with suggestions") {
    const auto errors =
        bad("migration = \"x\"\n"
            "[source]\n"
            "uri = \"redsi://a\"\n"
            "[target]\n"
            "uri = \"redis://user:hunter2@b\"\n"
            "[interlay]\n"
            "lissten = [\"127.0.0.1:1\"]\n"
            "threads = 0\n"
            "[cutover]\n"
            "hold_timeout = 3\n"
            "[migrate]\n"
            "strategy = \"bigbang\"\n");
    REQUIRE(errors.size() == 6);
    CHECK(errors[0].line == 3);
    CHECK(errors[0].suggestion == "did you mean redis://?");
    CHECK(errors[1].line == 5);
    CHECK(errors[1].message.find("password inside a URI") != std::string::npos);
    CHECK(errors[2].line == 7);
    CHECK(errors[2].suggestion == "did you mean interlay.listen?");
    CHECK(errors[3].line == 8);
    CHECK(errors[4].line == 10);
    CHECK(errors[4].message.find("unit is missing") != std::string::npos);
    CHECK(errors[5].line == 12);
    CHECK(errors[5].suggestion == "did you mean \"big-bang\"?");
    CHECK_FALSE(mentions(errors, "hunter2"));
}

TEST_CASE_FIXTURE(Fixture, "a key in the wrong table is named with its right one") {
    CHECK(mentions(bad("drain_timeout = \"3s\"\n" + kEnds), "interlay.drain_timeout"));
}

TEST_CASE_FIXTURE(Fixture, "syntax errors and missing files say where") {
    const auto syntax = bad("migration = \n");
    CHECK(syntax[0].line == 1);
    ConfigInput in = input("");
    in.file = directory.file("none.toml");
    auto missing = load_settings(in);
    REQUIRE_FALSE(missing.has_value());
    CHECK(mentions(missing.error(), "exodus init"));
}

TEST_CASE_FIXTURE(Fixture, "endpoints may be missing for commands that need none") {
    CHECK(mentions(bad(""), "source.uri: missing"));
    ConfigInput in = input("migration = \"x\"");
    in.require_endpoints = false;
    CHECK(load_settings(in).has_value());
}

TEST_CASE_FIXTURE(Fixture, "passwords: file, environment, command, credential") {
    const auto with = [](const std::string& source) {
        return "[source]\nuri = \"redis://a\"\n" + source + "\n[target]\nuri = \"redis://b\"\n";
    };
    write_file(directory.file("secret"), "hunter2\n", 0600);
    CHECK(good(with("password_file = \"secret\"")).source.password == Secret("hunter2"));
    ::chmod(directory.file("secret").c_str(), 0644);
    const auto readable = bad(with("password_file = \"secret\""));
    CHECK(readable[0].line == 3);
    CHECK(mentions(readable, "can be read by others"));
    CHECK(mentions(readable, "chmod 600"));
    CHECK_FALSE(mentions(readable, "hunter2"));

    CHECK(mentions(bad(with("password_env = \"PW\"")), "PW is not set"));
    environment["PW"] = "from-env";
    CHECK(good(with("password_env = \"PW\"")).source.password == Secret("from-env"));
    CHECK(good(with("password_command = [\"printf\", \"%s\\n\", \"cmd\"]")).source.password ==
          Secret("cmd"));
    CHECK(good(with("password_command = \"echo shell\"")).source.password == Secret("shell"));
    CHECK(mentions(bad(with("password_command = \"exit 3\"")), "exit code 3"));
    CHECK(mentions(bad(with("password_command = [\"/no/such\"]")), "No such file"));
    CHECK(mentions(bad(with("password_credential = \"pw\"")), "CREDENTIALS_DIRECTORY is not set"));
    write_file(directory.file("pw"), "cred", 0400);
    environment["CREDENTIALS_DIRECTORY"] = directory.path();
    CHECK(good(with("password_credential = \"pw\"")).source.password == Secret("cred"));
    CHECK(mentions(bad(with("password_credential = \"../pw\"")), "a name, not a path"));
    CHECK(mentions(bad(with("password_env = \"PW\"\npassword_file = \"secret\"")),
                   "more than one source"));
    CHECK(mentions(bad(with("password = \"x\"")), "unknown key"));
}

TEST_CASE_FIXTURE(Fixture, "telemetry elsewhere than on loopback needs a token and TLS") {
    const auto with = [](const std::string& lines) { return "[interlay]\n" + lines + kEnds; };
    CHECK(good(with("http = \"[::1]:9464\"\n")).interlay.http == "[::1]:9464");
    CHECK(mentions(bad(with("http = \"9464\"\n")), "is not an address"));
    const std::string open = "http = \"0.0.0.0:9464\"\n";
    CHECK(mentions(bad(with(open)), "can be reached from elsewhere"));
    write_file(directory.file("token"), "let-me-in\n", 0600);
    write_file(directory.file("key.pem"), "", 0600);
    const std::string token = "http_token_file = \"token\"\n";
    CHECK(mentions(bad(with(open + token)), "can be reached from elsewhere"));
    const std::string cert = "http_tls_cert = \"cert.pem\"\n";
    CHECK(mentions(bad(with(open + token + cert)), "TLS needs both"));
    const std::string key = "http_tls_key = \"key.pem\"\n";
    CHECK(good(with(open + token + cert + key)).interlay.http_token == Secret("let-me-in"));
    ::chmod(directory.file("token").c_str(), 0644);
    const auto readable = bad(with(open + token + cert + key));
    CHECK(mentions(readable, "can be read by others"));
    CHECK_FALSE(mentions(readable, "let-me-in"));
}

TEST_CASE_FIXTURE(Fixture, "tables: family options, throttle, rules, canary") {
    const Settings s =
        good(kEnds +
             "[redis]\nspool.max = \"1GiB\"\ncopy = { big_key = \"fail\" }\n"
             "[migrate]\nstrategy = \"canary\"\nthrottle = { bytes_per_s = \"5MiB\" }\n"
             "canary = { steps = [1, \"50%\"], hold = \"1m30s\", abort = { p99_ratio = 2 } }\n"
             "[[compare.rule]]\ncommands = [\"smembers\"]\naction = \"unordered\"\n");
    CHECK(s.family_options.at("spool.max") == "1GiB");
    CHECK(s.family_options.at("copy.big_key") == "fail");
    CHECK(s.migrate.throttle.at("bytes_per_s") == "5MiB");
    CHECK(s.migrate.strategy == Strategy::canary);
    CHECK(s.migrate.canary.steps == std::vector<double>{1, 50});
    CHECK(s.migrate.canary.hold_ms == 90'000);
    CHECK(s.migrate.canary.abort_p99_ratio == doctest::Approx(2));
    REQUIRE(s.compare.rules.size() == 1);
    CHECK(s.compare.rules[0].commands[0] == "SMEMBERS");
    const auto errors = bad(kEnds + "[[compare.rule]]\ncomands = [\"x\"]\naction = \"unorderd\"\n");
    CHECK(mentions(errors, "did you mean commands?"));
    CHECK(mentions(errors, "did you mean \"unordered\"?"));
}

TEST_CASE_FIXTURE(Fixture, "combinations that cannot work are refused") {
    CHECK(
        mentions(bad("[source]\nuri=\"redis://a\"\n[target]\nuri=\"other://b\"\n"), "one family"));
    CHECK(
        mentions(bad("[source]\nuri=\"redis://a\"\n[target]\nuri=\"redis://a\"\n"), "same server"));
    CHECK(mentions(
        bad("[source]\nuri=\"redis://a\"\ntls={server_name=\"x\"}\n[target]\nuri=\"redis://b\"\n"),
        "plain connection"));
    CHECK(mentions(bad(kEnds + "[interlay]\nlisten=[\"127.0.0.1\"]\n"), "is not an address"));
    CHECK(mentions(bad("[source]\nuri=\"redis://localhost:7000\"\n[target]\nuri=\"redis://b\"\n"
                       "[interlay]\nlisten=[\"127.0.0.1:7000\"]\n"),
                   "address of the source"));
    CHECK(mentions(bad(kEnds + "[cutover]\nmax_lag=\"5s\"\n"), "never end in time"));
    CHECK(mentions(bad(kEnds + "[interlay]\nrequire_client_cert=true\n"), "interlay.tls.ca"));
    CHECK(mentions(bad("state = \"" + std::string(120, 'x') + "\"\n" + kEnds), "longer than 107"));
}

TEST_CASE_FIXTURE(Fixture, "the hash changes with what evidence depends on and with nothing else") {
    const std::string before = good(kEnds).config_hash;
    CHECK(before.size() == 64);
    CHECK(good("[interlay]\nthreads = 2\n" + kEnds).config_hash == before);
    CHECK(good(kEnds + "[scope]\ninclude = [\"x:*\"]\n").config_hash != before);
    CHECK(good(kEnds + "[redis]\nfeed = \"x\"\n").config_hash != before);
    environment["PW"] = "one";
    const std::string with_secret =
        "[source]\nuri = \"redis://app@a:7000/3\"\npassword_env = \"PW\"\n"
        "[target]\nuri = \"rediss://b\"\n";
    CHECK(good(with_secret).config_hash == before);
}

TEST_CASE_FIXTURE(Fixture, "show says where a value comes from and no secret") {
    environment["EXODUS_INTERLAY_HTTP"] = "127.0.0.1:9";
    std::vector<ConfigValue> values;
    const auto settings = load_settings(
        input("[source]\nuri = \"redis://u:hunter2@a\"\npassword_command = \"echo hunter2\"\n"),
        &values);
    CHECK_FALSE(settings.has_value());
    for (const ConfigValue& value : values) {
        CHECK(value.value.find("hunter2") == std::string::npos);
        if (value.key == "interlay.http") CHECK(value.origin == "EXODUS_INTERLAY_HTTP");
        if (value.key == "cutover.watch") CHECK(value.origin == "default");
        if (value.key == "source.uri") CHECK(value.origin.ends_with("exodus.toml:2"));
    }
}

TEST_CASE_FIXTURE(Fixture, "the template loads, and its commented defaults are the real ones") {
    const std::string text = config_template({"m1", "redis", "redis://a:7000", "valkey://b"});
    CHECK(good(text).migration == "m1");
    // Uncommenting every default must change nothing.
    std::string uncommented;
    for (std::size_t begin = 0; begin < text.size();) {
        const auto end = text.find('\n', begin);
        std::string line = text.substr(begin, end - begin);
        begin = end + 1;
        for (const ConfigKeyInfo& info : config_keys()) {
            const std::string key(info.key);
            const auto dot = key.find('.');
            const std::string name = dot == std::string::npos ? key : key.substr(dot + 1);
            if (info.default_text.empty() || !line.starts_with("# " + name + " = ")) continue;
            line = line.substr(2);
            break;
        }
        uncommented += line + "\n";
    }
    CHECK(uncommented != text);
    const Settings a = good(text);
    const Settings b = good(uncommented);
    CHECK(a.config_hash == b.config_hash);
    CHECK(b.cutover.watch_ms == CutoverSettings{}.watch_ms);
    CHECK(b.cutover.hold_timeout_ms == CutoverSettings{}.hold_timeout_ms);
    CHECK(b.gates.compare_samples_min == GateSettings{}.compare_samples_min);
    CHECK(b.gates.ready_lag_for_ms == GateSettings{}.ready_lag_for_ms);
    CHECK(b.compare.budget == doctest::Approx(CompareSettings{}.budget));
    CHECK(b.interlay.listen == InterlaySettings{}.listen);
    CHECK(b.interlay.drain_timeout_ms == InterlaySettings{}.drain_timeout_ms);
    CHECK(b.migrate.canary.steps == CanarySettings{}.steps);
}

TEST_CASE("durations, sizes, shares") {
    CHECK(parse_duration_ms("200ms") == 200);
    CHECK(parse_duration_ms("1h30m") == 5'400'000);
    CHECK(parse_duration_ms("1.5s") == 1500);
    CHECK(parse_duration_ms("2d") == 172'800'000);
    CHECK(parse_duration_ms("0") == 0);
    CHECK_FALSE(parse_duration_ms("5").has_value());
    CHECK_FALSE(parse_duration_ms("5 parsecs").has_value());
    CHECK_FALSE(parse_duration_ms("-5s").has_value());
    CHECK_FALSE(parse_duration_ms("").has_value());
    CHECK(parse_size_bytes("64GiB") == 64ULL << 30);
    CHECK(parse_size_bytes("500 MB") == 500'000'000);
    CHECK(parse_size_bytes("4096") == 4096);
    CHECK(parse_size_bytes("100kb") == 100'000);
    CHECK(parse_size_bytes("2mib") == 2 << 20);
    CHECK_FALSE(parse_size_bytes("4 apples").has_value());
    CHECK(format_bytes(1023) == "1023 B");
    CHECK(format_bytes(1536) == "1.5 KiB");
    CHECK(parse_percent("5%") == 5.0);
    CHECK_FALSE(parse_percent("101").has_value());
    CHECK(format_duration_ms(86'400'000) == "24h");
    CHECK(format_duration_ms(90'000) == "90s");
    CHECK(nearest("stat", {"status", "start", "stop"}) == "start");
    CHECK_FALSE(nearest("zzzzzz", {"status"}).has_value());
}

TEST_CASE_FIXTURE(Fixture,
                  "users of the interlay: secrets by reference only, every mistake at once") {
    write_file(directory.file("ann.target"), "t-secret\n");
    environment["ANN_SOURCE"] = "s-secret";
    const std::string hash(64, 'a');
    const std::string ann = "[[interlay.user]]\nname = \"ann\"\npassword_sha256 = \"" + hash +
                            "\"\nsource_user = \"ann\"\nsource_password_env = \"ANN_SOURCE\"\n"
                            "target_user = \"t-ann\"\ntarget_password_file = \"ann.target\"\n";
    const Settings s = good(kEnds + ann);
    REQUIRE(s.interlay.users.size() == 1);
    const ClientUser& user = s.interlay.users[0];
    CHECK(user.password_sha256 == hash);
    CHECK(user.source.password == Secret("s-secret"));
    CHECK(user.target.user == "t-ann");
    CHECK(user.target.password == Secret("t-secret"));
    CHECK(s.config_hash != good(kEnds).config_hash);

    const std::string all =
        "[[interlay.user]]\nname = \"*\"\ntarget_user = \"apps\"\n"
        "target_password_file = \"ann.target\"\n";
    CHECK(good(kEnds + all).interlay.users.at(0).target.user == "apps");
    CHECK(mentions(bad(kEnds + all + "source_user = \"x\"\n"), "everybody has only"));

    const auto errors = bad(kEnds + ann + ann +
                            "[[interlay.user]]\nname = \"bob\"\npassword = \"plain\"\n"
                            "password_sha256 = \"short\"\nsource_pasword_env = \"X\"\n"
                            "target_password_env = \"NOT_SET\"\n");
    CHECK(mentions(errors, "given twice"));
    CHECK(mentions(errors, "interlay.user.password: unknown key"));
    CHECK(mentions(errors, "64 hexadecimal digits"));
    CHECK(mentions(errors, "did you mean source_password_env?"));
    CHECK(mentions(errors, "NOT_SET is not set"));
    CHECK_FALSE(mentions(errors, "plain"));
    CHECK(mentions(bad(kEnds + "[interlay]\nuser = 3\n"), "[[interlay.user]]"));
}
