#include "families/redis/stray_watch.h"

#include <algorithm>
#include <utility>

namespace exodus::redis {

namespace {

bool is_data(const StreamCommand& command) {
    return command.role != StreamRole::ignored && !command.own;
}

bool may_be_the_servers(const StreamCommand& command) {
    const bool removes = verb_is(command, "DEL") || verb_is(command, "UNLINK");
    return (removes && command.args.size() == 2) || verb_is(command, "HDEL");
}

}  // namespace

void StrayWatch::attached() {
    in_group_ = true;  // perhaps: told by what ends it
    ours_ = false;
    verb_.clear();
}

std::string StrayWatch::see(const StreamCommand& command) {
    const bool begins = verb_is(command, "MULTI");
    const bool ends = verb_is(command, "EXEC");
    // A server pings between groups only; a group that was none ends there, as at the next MULTI.
    if (begins || ends || verb_is(command, "PING")) {
        in_group_ = begins;
        const bool ours = std::exchange(ours_, false);
        std::string verb = std::exchange(verb_, {});
        return ours ? std::string() : verb;
    }
    ours_ = ours_ || (in_group_ &&
                      std::any_of(command.keys.begin(), command.keys.end(), [](const KeyRef& key) {
                          return key.name.starts_with(kCheckpointPrefix);
                      }));
    if (!is_data(command) || may_be_the_servers(command)) return {};
    if (!in_group_) return verb_of(command);
    if (verb_.empty()) verb_ = verb_of(command);
    return {};
}

}  // namespace exodus::redis
