// Users are in no change stream: pretest compares them and gives the requests that make them, with
// password hashes only where they were asked for, in a private file.
#include <algorithm>
#include <doctest/doctest.h>
#include <filesystem>
#include <sstream>
#include <sys/stat.h>

#include "base/digest.h"
#include "families/redis/text.h"
#include "tests/real/pretest-checks/pair.h"
#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

namespace {

bool logs_in(RedisServer& server, const std::string& user, const std::string& password) {
    const auto context = server.connect();
    return to_text(send_command(context.get(), {"AUTH", user, password}).get()) == "OK";
}

std::vector<std::string> lines_of(std::string_view text) {
    std::istringstream stream{std::string(text)};
    std::vector<std::string> lines;
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
}

/// As redis-cli would read them from the file.
void run_lines(RedisServer& server, const std::vector<std::string>& lines) {
    for (const std::string& line : lines) {
        const auto words = redis::split_line(line);
        REQUIRE(words);
        CHECK_MESSAGE(server.text(*words) == "OK", line);
    }
}

}  // namespace

TEST_CASE("pretest: users that differ in each way, and the requests that mend it") {
    Pair pair;
    const auto set = [](RedisServer& server, std::vector<std::string> words) {
        words.insert(words.begin(), {"ACL", "SETUSER"});
        REQUIRE(server.text(words) == "OK");
    };
    set(pair.source, {"new", "on", ">pw-new", ">pw-two", "~a\"b:*", "&ch", "+get", "(~b:* +set)"});
    set(pair.source, {"o'dd", "on", "nopass", "~*", "+get"});
    set(pair.source, {"rules", "on", ">pw-rules", "~r:*", "+get"});
    set(pair.target, {"rules", "on", ">pw-rules", "~*", "+@all"});
    set(pair.source, {"other", "on", ">pw-other", "~*", "+get"});
    set(pair.target, {"other", "on", ">pw-else", "~*", "+get"});
    set(pair.source, {"asleep", "on", ">pw-asleep", "~*", "+get"});
    set(pair.target, {"asleep", "off", ">pw-else", "~*", "+@all"});
    set(pair.source, {"disabled", "off", ">pw", "~*", "+get"});
    set(pair.source, {"open", "on", ">pw-open", "~*", "+get"});
    set(pair.target, {"open", "on", "nopass", "~*", "+get"});
    CHECK(pair.worst("redis.acl") == Severity::warn);
    INFO(pair.last);
    CHECK(pair.says("user new is missing on the target"));
    CHECK(pair.says("warn target: user o'dd is missing"));
    CHECK(pair.says("ACL SETUSER \"o'dd\" on nopass"));
    CHECK(pair.says("info target: user rules has other rules"));
    CHECK(pair.says("warn target: user other has another password"));
    CHECK(pair.says("ACL SETUSER other >PASSWORD;"));
    CHECK(pair.says("user asleep is missing on the target"));
    CHECK(!pair.says("user disabled"));
    CHECK(!pair.says("user open"));
    CHECK(!pair.says("user exodus"));
    CHECK(!pair.says("#"));

    const auto requests = pair.inspector->missing_users();
    REQUIRE(requests);
    const auto lines = lines_of(requests->reveal());
    CHECK(lines.size() == 5);
    run_lines(pair.target, lines);
    CHECK(pair.worst("redis.acl") == Severity::pass);
    CHECK(logs_in(pair.target, "new", "pw-new"));
    CHECK(logs_in(pair.target, "new", "pw-two"));
    CHECK(logs_in(pair.target, "o'dd", "anything"));
    CHECK(logs_in(pair.target, "other", "pw-other"));
    CHECK(logs_in(pair.target, "asleep", "pw-asleep"));
    CHECK_FALSE(logs_in(pair.target, "asleep", "pw-else"));
    CHECK(pair.inspector->missing_users()->reveal().empty());
}

TEST_CASE("pretest: users that have another name on the target, or none of their own") {
    Pair pair;
    ClientUser mapped;
    mapped.name = "app";
    mapped.source = {"app", Secret("pw")};
    mapped.target = {"app-there", Secret("pw-there")};
    pair.migration.settings.interlay.users = {mapped};
    pair.migration.settings.family_options["target.auth"] = "map";
    CHECK(pair.worst("redis.acl") == Severity::warn);
    CHECK(pair.says("user app-there is missing"));
    const auto requests = pair.inspector->missing_users();
    REQUIRE(requests);
    run_lines(pair.target, lines_of(requests->reveal()));
    // By the password that the configuration has for the target, not by that of the source.
    CHECK(logs_in(pair.target, "app-there", "pw-there"));
    CHECK_FALSE(logs_in(pair.target, "app-there", "pw"));
    CHECK(pair.worst("redis.acl") == Severity::pass);

    pair.migration.settings.family_options["target.auth"] = "service";
    CHECK(pair.worst("redis.acl") == Severity::warn);
    CHECK(pair.says("everybody is one user"));
    REQUIRE_FALSE(pair.inspector->missing_users());
    CHECK(pair.inspector->missing_users().error().code == ErrorCode::not_allowed);
}

TEST_CASE("pretest --acl-out: a private file has the hashes, and nothing else has them") {
    Rig rig;
    rig.expect(0, {"init", "redis"});
    const std::string hash = sha256_hex("pw-new");
    REQUIRE(rig.source().text({"ACL", "SETUSER", "new", "on", ">pw-new", "~*", "+get"}) == "OK");
    write_file(rig.file("users.acl"), "of an earlier run", 0644);
    const std::vector<std::string> words{"pretest",   "--json",    "--only",
                                         "redis.acl", "--acl-out", rig.file("users.acl")};
    // Whatever the umask of who runs it.
    const mode_t former = ::umask(0);
    RunResult result = rig.exodus(words);
    ::umask(former);
    INFO(result.out, result.err);
    CHECK(result.code == 2);  // the gate: a user is missing, and nothing else was checked
    struct stat info {};
    REQUIRE(::stat(rig.file("users.acl").c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    const std::string file = read_file(rig.file("users.acl"));
    CHECK(file.find("\nACL SETUSER new on #" + hash + " ") != std::string::npos);
    // Of the application's user the servers print the same rules otherwise; its password is there.
    CHECK(file.starts_with("ACL SETUSER app resetkeys "));
    CHECK((result.out + result.err).find("2 requests that make what the target lacks") !=
          std::string::npos);
    CHECK((result.out + result.err).find(hash) == std::string::npos);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(rig.file(""))) {
        if (!entry.is_regular_file() || entry.path().filename() == "users.acl") continue;
        CHECK_MESSAGE(read_file(entry.path().string()).find(hash) == std::string::npos,
                      entry.path().string());
    }
    run_lines(rig.target(), lines_of(file));
    CHECK(rig.exodus(words).code == 2);
    CHECK(read_file(rig.file("users.acl")).empty());
    result = rig.exodus({"pretest", "--only", "redis.acl", "--acl-out", "/no/such/file"});
    INFO(result.out, result.err);
    CHECK((result.out + result.err).find("/no/such/file") != std::string::npos);
    CHECK(result.code != 0);
}
