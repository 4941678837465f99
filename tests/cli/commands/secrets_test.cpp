// Passwords where they do not belong: in URIs, keys, arguments. Every error says what is wrong, and
// nothing shows them.
#include <sys/stat.h>

#include "fixture.h"

using namespace exodus;
using namespace exodus::test;

namespace {

void check_hidden(const RunResult& result, int code) {
    INFO(result.out << result.err);
    CHECK(result.code == code);
    CHECK_FALSE(has(result.out, kPassword));
    CHECK_FALSE(has(result.err, kPassword));
}

}  // namespace

TEST_CASE_FIXTURE(Fixture, "a wrong URI with a password in it is an error that hides it") {
    init();
    const std::string secret = kPassword;
    const std::vector<std::string> uris = {"redis://app:" + secret + "@h",
                                           "redis://:" + secret + "@h:6379/0",
                                           "redis://app:" + secret,
                                           "redis://app@h:" + secret,
                                           "app:" + secret + "@h",
                                           "nosuch://app:" + secret + "@h",
                                           "redis://app:" + secret + "@h:port",
                                           "redis://app:x#" + secret + "@h",
                                           "redis://h?password=" + secret,
                                           "redis://app:" + secret + "?x@h",
                                           "redis+unix://app:" + secret + "@/s",
                                           "redis://app:%zz" + secret + "@h"};
    for (const std::string& uri : uris) {
        for (const auto& words : std::vector<std::vector<std::string>>{
                 {"config", "check"},
                 {"config", "show"},
                 {"pretest", "-v", "-v", "--json", "--log-format", "json"}}) {
            check_hidden(exodus_run(words, {{"EXODUS_SOURCE_URI", uri}}), 78);
        }
        check_hidden(exodus_run({"status", "--offline"}, {{"EXODUS_SOURCE_URI", uri}}), 0);
        check_hidden(
            exodus_run({"init", "redis", "-o", "new.toml", "--from", uri, "--to", "redis://b"}),
            64);
    }
}

TEST_CASE_FIXTURE(Fixture, "a password in a place of its own invention is not repeated") {
    init();
    const std::string uri = std::string("redis://app:") + kPassword + "@h";
    for (const auto& words : std::vector<std::vector<std::string>>{
             {"init", "redis", uri},
             {"init", "redis", "--form=" + uri},
             {"migrate", uri},
             {uri},
             {"init", uri, "--from", "redis://a", "--to", "redis://b"}}) {
        auto json = words;
        json.emplace_back("--json");
        check_hidden(exodus_run(words), 64);
        check_hidden(exodus_run(json), 64);
    }
    const std::string assignment = std::string("password = ") + kPassword + "\n";
    for (const std::string& line : {assignment, "password = \"" + std::string(kPassword) + "\"\n",
                                    "[redis]\npassword = \"" + std::string(kPassword) + "\"\n"}) {
        write_config(line);
        check_hidden(exodus_run({"config", "check"}), 78);
        const RunResult shown = exodus_run({"config", "show"});
        check_hidden(shown, shown.code);
    }
}

TEST_CASE_FIXTURE(Fixture, "secret files that others may read, of passwords and of keys: 78") {
    init();
    const auto refused = [&] {
        const RunResult result = exodus_run({"config", "check"});
        check_hidden(result, 78);
        CHECK(has(result.err, "can be read by others"));
        CHECK(has(result.err, "chmod 600"));
    };
    for (const mode_t mode : {0644U, 0604U, 0660U}) {
        ::chmod(directory.file("secret").c_str(), mode);
        refused();
    }
    ::chmod(directory.file("secret").c_str(), 0600);
    write_file(directory.file("key"), kPassword, 0644);
    write_config("http = \"127.0.0.1:0\"\nhttp_token_file = \"key\"\n");
    refused();
}
