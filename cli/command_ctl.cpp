// exodus ctl: live knobs of a running interlay: NAME=VALUE, drain, reload.
#include <fmt/format.h>

#include "base/limits.h"
#include "cli/cli.h"
#include "cli/exit_codes.h"
#include "cli/workspace.h"
#include "workflow/mover.h"

namespace exodus::cli {

namespace {

/// One word of the command line as the request it means.
Result<nlohmann::json> request_for(const std::string& word) {
    if (word == "drain") return nlohmann::json{{"op", control_op::kDrain}};
    if (word == "reload") return nlohmann::json{{"op", "reload"}};
    if (word == "hello") return nlohmann::json{{"op", control_op::kHello}};
    if (word == "traffic") return nlohmann::json{{"op", control_op::kTraffic}};
    if (word == "pause" || word == "resume") {
        return nlohmann::json{{"op", control_op::kPause}, {"paused", word == "pause"}};
    }
    const auto equals = word.find('=');
    if (equals == std::string::npos || equals == 0) {
        return fail(ErrorCode::usage,
                    fmt::format("'{}' is neither NAME=VALUE nor a known word", printable(word)),
                    "words: drain, reload, hello, traffic, pause, resume; knobs: "
                    "throttle.KEY=VALUE, log-level=LEVEL, …");
    }
    const std::string name = word.substr(0, equals);
    const std::string value = word.substr(equals + 1);
    if (name.starts_with("throttle.")) {
        return nlohmann::json{
            {"op", control_op::kThrottle}, {"key", name.substr(9)}, {"value", value}};
    }
    return nlohmann::json{{"op", control_op::kKnob}, {"name", name}, {"value", value}};
}

int ctl(Cli& cli, const std::vector<std::string>& words) {
    std::vector<nlohmann::json> requests;
    for (const std::string& word : words) {
        auto request = request_for(word);
        if (!request) return cli.out.error("ctl", request.error());
        requests.push_back(std::move(*request));
    }
    int exit_code = kDone;
    auto space = Workspace::open(cli,
                                 {.mode = OpenMode::read_only,
                                  .require_endpoints = false,
                                  .read_secrets = false,
                                  .tolerate_config_errors = true},
                                 exit_code);
    if (!space) return exit_code;
    auto port = space->interlay->connect();
    if (!port) return cli.out.error("ctl", port.error());
    auto replies = nlohmann::json::array();
    for (std::size_t i = 0; i < requests.size(); ++i) {
        if (cli.globals.dry_run) {
            cli.out.line(fmt::format("dry run: would send {}", words[i]));
            continue;
        }
        auto reply = (*port)->call(requests[i], milliseconds(limits::kControlTimeout_ms));
        if (!reply) {
            return cli.out.error(
                "ctl", reply.error(),
                fmt::format("{} was not done; what stood before it was", words[i]));
        }
        reply->erase("ok");
        replies.push_back({{"request", words[i]}, {"reply", *reply}});
        cli.out.line(
            fmt::format("{}: done{}", words[i], reply->empty() ? "" : "  " + reply->dump()));
    }
    return cli.out.result("ctl", kDone, {{"replies", replies}});
}

}  // namespace

void add_ctl(Cli& cli) {
    auto words = std::make_shared<std::vector<std::string>>();
    CLI::App* sub = cli.add("ctl", "live knobs of a running interlay",
                            [&cli, words] { return ctl(cli, *words); });
    sub->add_option("request", *words,
                    "drain, reload, hello, traffic, pause, resume, or NAME=VALUE")
        ->required()
        ->type_name("REQUEST...");
}

}  // namespace exodus::cli
