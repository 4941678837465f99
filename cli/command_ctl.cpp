// exodus ctl: live knobs of a running interlay: NAME=VALUE, drain, reload.
#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "base/values.h"
#include "cli/cli.h"
#include "cli/workspace.h"
#include "workflow/exit_codes.h"
#include "workflow/mirror_knob.h"
#include "workflow/mover.h"
#include "workflow/pause_knob.h"

namespace exodus::cli {

namespace {

constexpr std::string_view kMirror = "mirror=";

bool is_mirror(const std::string& word) { return word.starts_with(kMirror); }
bool is_pause(const std::string& word) { return word == "pause" || word == "resume"; }
bool is_durable(const std::string& word) { return is_mirror(word) || is_pause(word); }

/// One word of the command line as the request it means.
Result<nlohmann::json> request_for(const std::string& word) {
    if (is_mirror(word)) {
        const auto percent = parse_percent(std::string_view(word).substr(kMirror.size()));
        if (!percent) {
            return fail(ErrorCode::usage, fmt::format("'{}' is not a percentage", printable(word)),
                        "mirror=5 sends 5 % of the comparable reads to the target too");
        }
        return nlohmann::json{{"percent", *percent}};
    }
    if (word == "drain") return nlohmann::json{{"op", control_op::kDrain}};
    if (word == "reload") return nlohmann::json{{"op", "reload"}};
    if (word == "hello") return nlohmann::json{{"op", control_op::kHello}};
    if (word == "traffic") return nlohmann::json{{"op", control_op::kTraffic}};
    if (is_pause(word)) return nlohmann::json{{"paused", word == "pause"}};
    const auto equals = word.find('=');
    if (equals == std::string::npos || equals == 0) {
        return fail(ErrorCode::usage,
                    fmt::format("'{}' is neither NAME=VALUE nor a known word", printable(word)),
                    "words: drain, reload, hello, traffic, pause, resume; knobs: "
                    "mirror=PERCENT, throttle.KEY=VALUE, log-level=LEVEL, …");
    }
    const std::string name = word.substr(0, equals);
    const std::string value = word.substr(equals + 1);
    if (name.starts_with("throttle.")) {
        return nlohmann::json{
            {"op", control_op::kThrottle}, {"key", name.substr(9)}, {"value", value}};
    }
    return nlohmann::json{{"op", control_op::kKnob}, {"name", name}, {"value", value}};
}

/// Asks the interlay, or makes durable what outlives it and then asks it to look.
Result<nlohmann::json> carry_out(Workspace& space, ControlPort& port, const std::string& word,
                                 const nlohmann::json& request, const std::string& reason) {
    if (is_pause(word)) {
        EXODUS_TRY(set_paused(*space.store, &port, space.row.id, word == "pause", current_owner(),
                              reason));
        return request;
    }
    if (!is_mirror(word)) {
        nlohmann::json signed_request = request;
        signed_request["by"] = owner_name(current_owner());
        signed_request["reason"] = reason;
        return port.call(signed_request, milliseconds(limits::kControlTimeout_ms));
    }
    EXODUS_TRY(set_mirror(*space.store, port, space.row.name, request.at("percent").get<double>(),
                          current_owner()));
    return request;
}

int ctl(Cli& cli, const std::vector<std::string>& words) {
    std::vector<nlohmann::json> requests;
    for (const std::string& word : words) {
        auto request = request_for(word);
        if (!request) return cli.out.error("ctl", request.error());
        requests.push_back(std::move(*request));
    }
    const bool durable =
        !cli.globals.dry_run && std::any_of(words.begin(), words.end(), is_durable);
    int exit_code = kDone;
    WorkspaceOptions options = kReading;
    if (durable) options.mode = OpenMode::existing;
    auto space = Workspace::open(cli, options, exit_code);
    if (!space) return exit_code;
    auto port = space->interlay->connect();
    if (!port) return cli.out.error("ctl", port.error());
    auto replies = nlohmann::json::array();
    for (std::size_t i = 0; i < requests.size(); ++i) {
        if (cli.globals.dry_run) {
            cli.out.line(fmt::format("dry run: would send {}", words[i]));
            continue;
        }
        auto reply = carry_out(*space, **port, words[i], requests[i], cli.globals.reason);
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
