#include "families/redis/server_load.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/clock.h"
#include "families/redis/stream_command.h"

namespace exodus::redis {

namespace {

/// Less than this is how two counters are read, one after the other.
constexpr uint64_t kBeside_calls = 10;
constexpr uint64_t kBeside_per_mille = 5;
constexpr std::size_t kBesideNamed = 5;

/// Of "calls=12,usec=34,usec_per_call=2.83".
uint64_t part(std::string_view text, std::string_view name) {
    const auto at = text.find(name);
    if (at == std::string_view::npos) return 0;
    text.remove_prefix(at + name.size());
    const auto number = to_number(text.substr(0, text.find(',')));
    return number && *number > 0 ? static_cast<uint64_t>(*number) : 0;
}

bool runs_a_script(std::string_view name) {
    return name.starts_with("eval") || name.starts_with("fcall");
}

}  // namespace

std::string table_name(std::string_view command) {
    std::string name;
    for (const char c : command) {
        name += c == ' ' ? '|' : c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    }
    return name;
}

Result<ServerLoad> server_load(Client& client) {
    static constexpr std::string_view kPrefix = "cmdstat_";
    ServerLoad load;
    auto commands = client.info("commandstats");
    if (!commands) return tl::unexpected(std::move(commands).error());
    load.at_us = steady_us();
    auto cpu = client.info("cpu");
    if (!cpu) return tl::unexpected(std::move(cpu).error());
    for (const auto& [name, text] : commands->all()) {
        if (!name.starts_with(kPrefix)) continue;
        load.commands[name.substr(kPrefix.size())] = {part(text, "calls="), part(text, "usec=")};
    }
    load.cpu_s = cpu->number("used_cpu_user") + cpu->number("used_cpu_sys");
    return load;
}

ServerLoad load_between(const ServerLoad& start, const ServerLoad& end) {
    const auto grown = [](auto from, auto to) { return to < from ? to : to - from; };
    ServerLoad out;
    out.at_us = end.at_us - start.at_us;
    out.cpu_s = grown(start.cpu_s, end.cpu_s);
    for (const auto& [name, command] : end.commands) {
        const auto before = start.commands.find(name);
        const ServerLoad::Command from =
            before == start.commands.end() ? ServerLoad::Command{} : before->second;
        const ServerLoad::Command step{grown(from.calls, command.calls),
                                       grown(from.busy_us, command.busy_us)};
        if (step.calls > 0) out.commands.emplace(name, step);
    }
    return out;
}

std::vector<Finding> judge_beside(const ServerLoad& during, const std::set<std::string>& writes,
                                  const TrafficStats& stats) {
    if (stats.counters.contains(kInterlayRestarts)) return {};  // not all that came through it
    std::map<std::string, uint64_t> proxied;
    for (const auto& [name, command] : stats.commands)
        proxied[table_name(name)] += command.requests;
    std::vector<std::pair<uint64_t, std::string>> beside;
    uint64_t sum = 0;
    for (const auto& [name, command] : during.commands) {
        if (runs_a_script(name)) return {};
        if (!writes.contains(name)) continue;
        const uint64_t ours = proxied[name];
        if (command.calls <= ours + kBeside_calls + ours * kBeside_per_mille / 1000) continue;
        sum += command.calls - ours;
        beside.emplace_back(command.calls - ours, name);
    }
    if (beside.empty()) return {};
    std::sort(beside.rbegin(), beside.rend());
    std::string names;
    for (std::size_t i = 0; i < std::min(beside.size(), kBesideNamed); ++i)
        names += fmt::format("{}{} {}", i == 0 ? "" : ", ", beside[i].first, beside[i].second);
    if (beside.size() > kBesideNamed)
        names += fmt::format(" and {} other commands", beside.size() - kBesideNamed);
    return {{"redis.traffic.beside", Severity::warn, "source",
             fmt::format("the source ran {} writes that did not come through the interlay: {}", sum,
                         names),
             "connections too short to be named here: look for jobs that connect, write and go; "
             "the fence of the switch will stop them"}};
}

}  // namespace exodus::redis
