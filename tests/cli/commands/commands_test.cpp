// The real binary from the outside: exit codes, what is said, what is left unchanged, secrets,
// --json.
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"

namespace fs = std::filesystem;
using namespace exodus;
using namespace exodus::test;

namespace {

/// One way to call every command that ends by itself, with endpoints that nobody answers at.
const std::vector<std::vector<std::string>> kEveryCommand = {
    {"init", "redis"},
    {"config", "check"},
    {"config", "show"},
    {"config", "show", "--all"},
    {"pretest"},
    {"pretest", "--list"},
    {"analyze", "--timeout", "1s"},
    {"compare", "--timeout", "1s"},
    {"test", "--timeout", "1s"},
    {"migrate", "--timeout", "1s"},
    {"migrate", "--switch", "--no-input"},
    {"rollback", "--no-input", "--timeout", "1s"},
    {"commit", "--no-input", "--timeout", "1s"},
    {"status"},
    {"status", "--gates", "--workers", "--history"},
    {"status", "--offline"},
    {"approve", "switch", "--reason", "test"},
    {"deny", "switch", "--reason", "test"},
    {"divergences", "list"},
    {"divergences", "show"},
    {"divergences", "export"},
    {"divergences", "rules"},
    {"divergences", "re-drive"},
    {"errors", "list"},
    {"errors", "export"},
    {"errors", "re-drive"},
    {"events"},
    {"ctl", "hello"},
    {"completion", "bash"},
    {"man"},
    {"interlay", "--dry-run"},
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "help and version") {
    const RunResult help = exodus_run({"--help"});
    CHECK(help.code == 0);
    CHECK(has(help.out, "migrate"));
    CHECK(has(help.out, "Exit codes"));
    CHECK(has(exodus_run({"--version"}).out, "exodus 0."));
    CHECK(has(exodus_run({"migrate", "--help"}).out, "--switch"));
    CHECK(exodus_run({}).code == 64);
}

TEST_CASE_FIXTURE(Fixture, "usage errors say what was meant") {
    RunResult wrong = exodus_run({"migrat"});
    CHECK(wrong.code == 64);
    CHECK(has(wrong.err, "unknown command migrat"));
    CHECK(has(wrong.err, "did you mean migrate?"));
    wrong = exodus_run({"migrate", "--swich"});
    CHECK(wrong.code == 64);
    CHECK(has(wrong.err, "did you mean --switch?"));
    CHECK(exodus_run({"migrate", "--switch", "--pause"}).code == 64);
    CHECK(exodus_run({"migrate", "--hold-timeout", "3"}).code == 64);
    CHECK(exodus_run({"config"}).code == 64);
    CHECK(exodus_run({"init"}).code == 64);
    CHECK(exodus_run({"init", "nosuch", "--from", "x", "--to", "y"}).code == 64);
    CHECK(has(exodus_run({"compare", "--skip-gate", "compare"}).err, "--reason"));
    const auto json = last_object(exodus_run({"migrat", "--json"}));
    CHECK(json["error"]["code"] == "usage");
}

TEST_CASE_FIXTURE(Fixture, "init writes a configuration and a state, once") {
    const RunResult made = exodus_run({"init", "redis", "--from", "redis://127.0.0.1:1", "--to",
                                       "valkey://127.0.0.1:2", "-m", "m9"});
    INFO(made.out << made.err);
    CHECK(made.code == 0);
    CHECK(has(made.out, "authoritative: source"));
    CHECK(has(read_file(directory.file("exodus.toml")), "migration = \"m9\""));
    struct stat info {};
    REQUIRE(::stat(directory.file("exodus.db").c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    const RunResult again = exodus_run(
        {"init", "redis", "--from", "redis://127.0.0.1:1", "--to", "redis://127.0.0.1:2"});
    CHECK(again.code == 73);
    CHECK(has(again.err, "never overwritten"));
    CHECK(exodus_run({"init", "redis"}).code == 0);
    TempDir other;
    const RunResult secret =
        exodus_run({"init", "redis", "-o", other.file("x.toml"), "--from",
                    std::string("redis://u:") + kPassword + "@h", "--to", "redis://b"});
    CHECK(secret.code == 64);
    CHECK_FALSE(has(secret.err + secret.out, kPassword));
    CHECK_FALSE(fs::exists(other.file("x.toml")));
}

TEST_CASE_FIXTURE(Fixture, "configuration errors: all of them, with lines, exit 78") {
    write_config("[interlay]\n");
    write_config("[cutover]\nhold_timout = \"3s\"\nmax_lag = \"fast\"\n");
    const RunResult wrong = exodus_run({"pretest"});
    CHECK(wrong.code == 78);
    CHECK(has(
        wrong.err,
        "exodus.toml:10: cutover.hold_timout: unknown key; did you mean cutover.hold_timeout?"));
    CHECK(has(wrong.err, "exodus.toml:11: cutover.max_lag: 'fast' is not a duration"));
    CHECK(has(wrong.err, "nothing was changed"));
    const auto json = last_object(exodus_run({"config", "check", "--json"}));
    REQUIRE(json["errors"].size() == 2);
    CHECK(json["errors"][0]["line"] == 10);
    write_config();
    ::chmod(directory.file("secret").c_str(), 0644);
    const RunResult readable = exodus_run({"config", "check"});
    CHECK(readable.code == 78);
    CHECK(has(readable.err, "can be read by others"));
    ::chmod(directory.file("secret").c_str(), 0600);
    CHECK(exodus_run({"config", "check"}).code == 0);
    // What the family refuses has its line too, and the reason.
    write_config(
        "[migrate]\nconflict = \"newer\"\nwrite_consistency = \"both\"\n"
        "[redis]\nnewer_by = \"expiry\"\nextra = \"delete\"\n");
    const RunResult refused = exodus_run({"config", "check"});
    CHECK(refused.code == 78);
    CHECK(has(refused.err,
              "exodus.toml:11: migrate.write_consistency cannot be both for redis: use source; the "
              "target is written by the source's change stream"));
    CHECK(has(refused.err, "exodus.toml:14: redis.extra = delete needs migrate.conflict"));
    for (const char* value : {"target", "either"}) {
        write_config(std::string("[migrate]\nwrite_consistency = \"") + value + "\"\n");
        const RunResult early = exodus_run({"pretest"});
        CHECK(early.code == 78);
        CHECK(has(early.err, "exodus.toml:10: migrate.write_consistency cannot be"));
    }
    write_config(
        "[migrate]\ndata_movement = \"repair\"\nconflict = \"skip\"\n"
        "[redis]\nextra = \"keep\"\nboth_ways = true\n");
    const RunResult contradictions = exodus_run({"config", "check"});
    CHECK(contradictions.code == 78);
    CHECK(has(contradictions.err, "exodus.toml:11: migrate.conflict = skip contradicts"));
    CHECK(has(contradictions.err, "exodus.toml:13: redis.extra = keep contradicts"));
    CHECK(has(contradictions.err, "exodus.toml:14: redis.both_ways is not available; the source"));
    const RunResult none =
        run({EXODUS_BINARY, "-c", "/no/such.toml", "pretest"}, milliseconds(10000));
    CHECK(none.code == 78);
    CHECK(has(none.err, "/no/such.toml"));
}

TEST_CASE_FIXTURE(
    Fixture,
    "status: without a state, with one, with a broken configuration, in a read-only directory") {
    const RunResult none = exodus_run({"status"});
    CHECK(none.code == 66);
    CHECK(has(none.err, "exodus init"));
    init();
    const RunResult status = exodus_run({"status"});
    INFO(status.out << status.err);
    CHECK(status.code == 0);
    CHECK(has(status.out, "AUTHORITATIVE    ** YES **"));
    CHECK(has(status.out, "NEW"));
    CHECK(has(status.out, "Next: exodus pretest"));
    CHECK(status.out.find("AUTHORITATIVE") < status.out.find("serves writes"));
    CHECK_FALSE(has(status.out, "\x1b["));
    CHECK(has(exodus_run({"status", "--color", "always"}).out, "\x1b["));
    CHECK_FALSE(has(exodus_run({"status"}, {{"NO_COLOR", "1"}}).out, "\x1b["));
    const auto json = last_object(exodus_run({"status", "--json", "--offline"}));
    CHECK(json.dump().find("source") != std::string::npos);
    write_config("[nonsense]\nx = 1\n");
    const RunResult broken = exodus_run({"status"});
    CHECK(broken.code == 0);
    CHECK(has(broken.out, "AUTHORITATIVE"));
    CHECK(has(broken.err, "unknown key"));
    write_config();
    // Root may write everywhere, so the directory's mode is no obstacle to root; reading must work
    // for all.
    ::chmod(directory.path().c_str(), 0500);
    CHECK(exodus_run({"status", "--offline"}).code == 0);
    CHECK(exodus_run({"events"}).code == 0);
    // As nobody, when the test is root: the whole directory is nobody's, so only its mode is in the
    // way.
    std::vector<std::string> words{EXODUS_BINARY, "pretest"};
    if (::geteuid() == 0) {
        for (const auto& entry : fs::directory_iterator(directory.path()))
            REQUIRE(::chown(entry.path().c_str(), 65534, 65534) == 0);
        REQUIRE(::chown(directory.path().c_str(), 65534, 65534) == 0);
        words.insert(words.begin(),
                     {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"});
    }
    ProcessOptions options;
    options.directory = directory.path();
    const RunResult refused = run(words, milliseconds(30'000), options);
    INFO(refused.out << refused.err);
    CHECK(refused.code == 73);
    CHECK(has(refused.err, "exodus.db: its directory cannot be written"));
    CHECK(has(refused.err, "nothing was changed"));
    ::chmod(directory.path().c_str(), 0700);
}

TEST_CASE_FIXTURE(Fixture, "a place that cannot be written is said before anything else happens") {
    write_config();
    const RunResult nowhere = exodus_run({"init", "redis", "--state", "/proc/exodus.db"});
    CHECK(nowhere.code == 73);
    CHECK(has(nowhere.err, "/proc"));
    write_file(directory.file("foreign.db"), std::string(8192, 'x'));
    const RunResult foreign = exodus_run({"status", "--state", "foreign.db"});
    CHECK(foreign.code == 65);
    CHECK(read_file(directory.file("foreign.db")) == std::string(8192, 'x'));
}

TEST_CASE_FIXTURE(Fixture, "a phase that is not allowed now: 3, and what is allowed") {
    init();
    const RunResult refused = exodus_run({"migrate"});
    CHECK(refused.code == 3);
    CHECK(has(refused.out + refused.err, "pretest"));
    CHECK(has(refused.out + refused.err, "authoritative: source"));
    const auto json = last_object(exodus_run({"commit", "--json"}));
    CHECK(json["exit_code"] == 3);
    CHECK(json["authority"] == "source");
}

TEST_CASE_FIXTURE(Fixture,
                  "endpoints that do not answer are findings of pretest, and nothing changes") {
    init();
    const RunResult result = exodus_run({"pretest", "--timeout", "20s"});
    INFO(result.out << result.err);
    CHECK((result.code == 2 || result.code == 69));
    CHECK(has(result.out, "authoritative: source"));
    CHECK(has(exodus_run({"status", "--offline"}).out, "NEW"));
}

TEST_CASE_FIXTURE(Fixture, "a locked migration: 75, and who holds it") {
    init();
    const int fd =
        ::open(directory.file("exodus.db.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    REQUIRE(::flock(fd, LOCK_EX | LOCK_NB) == 0);
    const RunResult locked = exodus_run({"pretest"});
    CHECK(locked.code == 75);
    CHECK(exodus_run({"status", "--offline"}).code == 0);
    ::close(fd);
}

TEST_CASE_FIXTURE(Fixture, "a switch needs a typed name or --confirm with --reason") {
    init();
    const RunResult refused = exodus_run({"approve", "switch"});
    CHECK(refused.code != 0);
    const RunResult good = exodus_run({"approve", "switch", "--reason", "rehearsal"});
    INFO(good.out << good.err);
    CHECK(good.code == 0);
    CHECK(has(exodus_run({"status", "--history", "--offline"}).out, "rehearsal"));
    CHECK(exodus_run({"approve", "nosuchgate", "--reason", "x"}).code == 64);
}

TEST_CASE_FIXTURE(Fixture, "no interlay: ctl and re-drive say how to start one") {
    init();
    const RunResult ctl = exodus_run({"ctl", "drain"});
    CHECK(ctl.code == 69);
    CHECK(has(ctl.err, "exodus interlay"));
    CHECK(exodus_run({"ctl", "nonsense"}).code == 64);
}

TEST_CASE_FIXTURE(Fixture, "no command prints a secret, and --json is valid everywhere") {
    init();
    for (const bool json : {false, true}) {
        for (auto words : kEveryCommand) {
            std::string shown;
            for (const std::string& word : words) shown += word + " ";
            if (json) words.insert(words.end(), {"--json", "--log-format", "json"});
            words.insert(words.end(), {"-v", "-v"});
            const RunResult result = exodus_run(words);
            INFO(shown << "\n" << result.out << "\n" << result.err);
            CHECK(result.code >= 0);
            CHECK(result.code != 70);
            CHECK_FALSE(has(result.out, kPassword));
            CHECK_FALSE(has(result.err, kPassword));
            if (json) last_object(result);
            if (json) check_objects(result.err);
        }
    }
    // Nor does any file that exodus writes hold it.
    for (const auto& entry : fs::recursive_directory_iterator(directory.path())) {
        if (!entry.is_regular_file() || entry.path().filename() == "secret") continue;
        CHECK_MESSAGE(!has(read_file(entry.path().string()), kPassword), entry.path().string());
    }
}

TEST_CASE_FIXTURE(Fixture, "--dry-run changes no byte of the state") {
    init();
    const std::string before = read_file(directory.file("exodus.db"));
    for (const char* command : {"pretest", "migrate", "rollback"}) {
        const RunResult result = exodus_run({command, "--dry-run", "--timeout", "5s"});
        INFO(command << result.out << result.err);
        CHECK(result.code != 70);
    }
    CHECK(read_file(directory.file("exodus.db")) == before);
}

TEST_CASE_FIXTURE(Fixture, "interlay --dry-run: nothing is made, nobody is asked for sockets") {
    init();
    const std::string before = read_file(directory.file("exodus.db"));
    const RunResult alone = exodus_run({"interlay", "--dry-run"});
    INFO(alone.out << alone.err);
    CHECK(alone.code == 0);
    CHECK(has(alone.out, "would listen on"));
    const RunResult takeover = exodus_run({"interlay", "--dry-run", "--takeover"});
    CHECK(takeover.code == 69);
    CHECK(has(takeover.err, "start without --takeover"));
    CHECK_FALSE(fs::exists(directory.file("exodus.db.d")));
    CHECK(read_file(directory.file("exodus.db")) == before);
}

TEST_CASE_FIXTURE(Fixture, "pretest --ack is a decision: without a reason it is refused, 64") {
    init();
    const RunResult refused = exodus_run({"pretest", "--ack", "tap"});
    CHECK(refused.code == 64);
    CHECK(has(refused.out + refused.err, "--reason"));
}

TEST_CASE_FIXTURE(Fixture, "SIGINT: 130 where it stopped the work, else the work's own code") {
    init();
    std::string moment;
    SUBCASE("before the work") { moment = "before"; }
    SUBCASE("when the work is done") { moment = "after"; }
    // A hook is what a phase command can be made to wait for without servers.
    fs::create_directory(directory.file("hooks.d"));
    ::chmod(directory.file("hooks.d").c_str(), 0700);
    write_file(directory.file("hooks.d/10-wait"),
               "#!/bin/sh\n[ \"$1\" = " + moment +
                   " ] || exit 0\ntouch started\nwhile [ ! -e go ]; do sleep 0.05; done\n",
               0700);
    ProcessOptions options;
    options.directory = directory.path();
    options.output = directory.file("out");
    options.errors = directory.file("err");
    Process command({EXODUS_BINARY, "pretest"}, options);
    REQUIRE(
        eventually(milliseconds(20'000), [&] { return fs::exists(directory.file("started")); }));
    command.signal(SIGINT);
    REQUIRE(eventually(milliseconds(20'000), [&] {
        return has(read_file(directory.file("err")), "stopping at the next safe point");
    }));
    if (moment == "after") write_file(directory.file("go"), "");
    const std::optional<int> code = command.wait(milliseconds(20'000));
    const std::string out = read_file(directory.file("out"));
    INFO(out);
    REQUIRE(code);
    if (moment == "before") {
        CHECK(*code == 130);
        CHECK(has(out, "run the same command again"));
        CHECK(has(out, "Next: exodus pretest"));
    } else {
        CHECK((*code == 2 || *code == 69));
    }
}
