#include "families/redis/request_kind.h"

#include <array>
#include <utility>
#include <vector>

#include "wire/resp/value.h"

namespace exodus::redis {

namespace {

constexpr std::array<std::pair<std::string_view, Kind>, 60> kKinds{{
    {"AUTH", Kind::auth},
    {"HELLO", Kind::hello},
    {"SELECT", Kind::select},
    {"RESET", Kind::reset},
    {"QUIT", Kind::quit},
    {"MULTI", Kind::multi},
    {"EXEC", Kind::exec},
    {"DISCARD", Kind::discard},
    {"WATCH", Kind::watch},
    {"UNWATCH", Kind::unwatch},
    {"SUBSCRIBE", Kind::subscribe},
    {"PSUBSCRIBE", Kind::subscribe},
    {"SSUBSCRIBE", Kind::subscribe},
    {"UNSUBSCRIBE", Kind::unsubscribe},
    {"PUNSUBSCRIBE", Kind::unsubscribe},
    {"SUNSUBSCRIBE", Kind::unsubscribe},
    {"MONITOR", Kind::monitor},
    {"SYNC", Kind::sync},
    {"PSYNC", Kind::sync},
    {"WAIT", Kind::wait},
    {"WAITAOF", Kind::wait_aof},
    {"BLPOP", Kind::blocking},
    {"BRPOP", Kind::blocking},
    {"BLMOVE", Kind::blocking},
    {"BRPOPLPUSH", Kind::blocking},
    {"BLMPOP", Kind::blocking},
    {"BZPOPMIN", Kind::blocking},
    {"BZPOPMAX", Kind::blocking},
    {"BZMPOP", Kind::blocking},
    {"XREAD", Kind::blocking},
    {"XREADGROUP", Kind::blocking},
    {"EVAL", Kind::eval},
    {"EVAL_RO", Kind::eval},
    {"EVALSHA", Kind::evalsha},
    {"EVALSHA_RO", Kind::evalsha},
    {"SCRIPT LOAD", Kind::script_load},
    {"SCRIPT FLUSH", Kind::script_flush},
    {"SCAN", Kind::scan},
    {"HSCAN", Kind::key_scan},
    {"SSCAN", Kind::key_scan},
    {"ZSCAN", Kind::key_scan},
    {"CLIENT ID", Kind::client_id},
    {"CLIENT SETNAME", Kind::client_name},
    {"CLIENT GETNAME", Kind::client_getname},
    {"CLIENT LIST", Kind::client_list},
    {"CLIENT INFO", Kind::client_list},
    {"CLIENT PAUSE", Kind::client_pause},
    {"CLIENT UNPAUSE", Kind::client_pause},
    {"CLIENT KILL", Kind::client_kill},
    {"CLIENT UNBLOCK", Kind::client_unblock},
    {"CLIENT REPLY", Kind::client_reply},
    {"CLIENT TRACKING", Kind::client_tracking},
    {"CLIENT NO-EVICT", Kind::client_flag},
    {"CLIENT NO-TOUCH", Kind::client_flag},
    {"READONLY", Kind::client_flag},
    {"READWRITE", Kind::client_flag},
    {"CLIENT GETREDIR", Kind::client_redirect},
    {"CLIENT TRACKINGINFO", Kind::client_redirect},
    {"CLIENT CACHING", Kind::client_harmless},
    {"CLIENT SETINFO", Kind::client_harmless},
}};

std::vector<Kind> make_kinds() {
    std::vector<Kind> kinds(std::size_t{resp::builtin_count()} + 1, Kind::plain);
    for (const resp::CommandRow& row : resp::builtin_rows()) {
        if (row.id >= kinds.size()) continue;
        for (const auto& [name, kind] : kKinds) {
            if (row.name == name) kinds[row.id] = kind;
        }
    }
    return kinds;
}

}  // namespace

Kind kind_of(const resp::CommandRow& row) {
    static const std::vector<Kind> kinds = make_kinds();
    return row.id < kinds.size() ? kinds[row.id] : Kind::plain;
}

int channel_kind(std::string_view name) {
    const char first = name.empty() ? '\0' : static_cast<char>(name[0] | 0x20);
    if (first == 'p') return 1;
    // SUBSCRIBE against SSUBSCRIBE, UNSUBSCRIBE against SUNSUBSCRIBE.
    if (first == 's' && name.size() > 1 && (name[1] | 0x20) != 'u') return 2;
    if (first == 's' && name.size() == 12) return 2;
    return 0;
}

BlockingTimeout blocking_timeout(const resp::CommandRow& row,
                                 std::span<const std::string_view> arguments) {
    BlockingTimeout timeout;
    if (row.name == "XREAD" || row.name == "XREADGROUP") {
        for (std::size_t i = 1; i + 1 < arguments.size(); ++i) {
            if (resp::is_word(arguments[i], "STREAMS")) break;
            if (!resp::is_word(arguments[i], "BLOCK")) continue;
            timeout.argument = i + 1;
            timeout.milliseconds = true;
            break;
        }
    } else if (row.name == "BLMPOP" || row.name == "BZMPOP") {
        timeout.argument = arguments.size() > 1 ? 1 : 0;
    } else if (arguments.size() > 1) {
        timeout.argument = arguments.size() - 1;
    }
    if (timeout.argument == 0) return timeout;
    if (!resp::parse_double(arguments[timeout.argument], timeout.value_s)) timeout.argument = 0;
    if (timeout.milliseconds) timeout.value_s /= 1000;
    return timeout;
}

}  // namespace exodus::redis
