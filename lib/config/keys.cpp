#include "config/keys.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <limits>

#include "base/values.h"

namespace exodus {

namespace {

constexpr double kAny = std::numeric_limits<double>::infinity();
constexpr double kDay = 24 * 3600e3;

using D = SettingsDraft;
using V = KeyValue;

template <class Enum>
Enum choose(std::string_view text,
            std::initializer_list<std::pair<std::string_view, Enum>> values) {
    for (const auto& [name, value] : values) {
        if (name == text) return value;
    }
    return values.begin()->second;
}

/// The keys of [source] and [target] are the same list; `S` says which draft they fill.
template <EndpointDraft SettingsDraft::*S>
void add_endpoint(std::vector<KeySpec>& out, const std::array<std::string_view, 12>& names) {
    const auto tls = [&](std::size_t i, KeyKind kind, std::string_view default_text,
                         std::string_view help, void (*apply)(D&, const V&)) {
        out.push_back({names[i], kind, default_text, help, "", -kAny, kAny, apply});
    };
    tls(0, KeyKind::text, "",
        "the family of the endpoint; follows from the URI's scheme when it is left out",
        [](D& d, const V& v) { (d.*S).family = v.text; });
    tls(1, KeyKind::text, "",
        "where it is: SCHEME://[USER@]HOST[:PORT][/DATABASE], never with a password",
        [](D& d, const V& v) { (d.*S).uri = v.text; });
    tls(2, KeyKind::text, "", "the user, when it is not in the URI",
        [](D& d, const V& v) { (d.*S).user = v.text; });
    tls(3, KeyKind::path, "", "file with the password; refused when others can read it",
        [](D& d, const V& v) { (d.*S).password_file = v.text; });
    tls(4, KeyKind::text, "", "name of the environment variable that holds the password",
        [](D& d, const V& v) { (d.*S).password_env = v.text; });
    tls(5, KeyKind::command, "",
        "command that prints the password: a list of words, or one text for the shell",
        [](D& d, const V& v) { (d.*S).password_command = v.list; });
    tls(6, KeyKind::text, "", "name of a systemd credential that holds the password",
        [](D& d, const V& v) { (d.*S).password_credential = v.text; });
    tls(7, KeyKind::path, "", "PEM file of the certificate authorities to trust; else the system's",
        [](D& d, const V& v) { (d.*S).tls.ca_file = v.text, (d.*S).tls_given = true; });
    tls(8, KeyKind::path, "", "PEM file of the client certificate",
        [](D& d, const V& v) { (d.*S).tls.cert_file = v.text, (d.*S).tls_given = true; });
    tls(9, KeyKind::path, "", "PEM file of the client's key; refused when others can read it",
        [](D& d, const V& v) { (d.*S).tls.key_file = v.text, (d.*S).tls_given = true; });
    tls(10, KeyKind::text, "", "name to ask for and to verify, when it is not the host of the URI",
        [](D& d, const V& v) { (d.*S).tls.server_name = v.text, (d.*S).tls_given = true; });
    tls(11, KeyKind::boolean, "true", "verify the certificate and its name",
        [](D& d, const V& v) { (d.*S).tls.verify = v.flag, (d.*S).tls_given |= !v.flag; });
}

void add_interlay(std::vector<KeySpec>& out) {
    out.insert(
        out.end(),
        {
            {"interlay.listen", KeyKind::list, R"(["127.0.0.1:6400"])",
             "addresses that applications connect to: HOST:PORT, [V6]:PORT or unix:/PATH", "", 0, 0,
             [](D& d, const V& v) { d.settings.interlay.listen = v.list; }},
            {"interlay.http", KeyKind::text, "", "address of the telemetry server; empty: off", "",
             0, 0, [](D& d, const V& v) { d.settings.interlay.http = v.text; }},
            {"interlay.http_token_file", KeyKind::path, "",
             "file with the token that readers of telemetry must show; needed elsewhere than on "
             "loopback",
             "", 0, 0, [](D& d, const V& v) { d.settings.interlay.http_token_file = v.text; }},
            {"interlay.http_tls_cert", KeyKind::path, "",
             "PEM file of the telemetry server's certificate; needed elsewhere than on loopback",
             "", 0, 0, [](D& d, const V& v) { d.settings.interlay.http_cert_file = v.text; }},
            {"interlay.http_tls_key", KeyKind::path, "", "PEM file of its key", "", 0, 0,
             [](D& d, const V& v) { d.settings.interlay.http_key_file = v.text; }},
            {"interlay.threads", KeyKind::integer, "1", "event loops, each on a core of its own",
             "", 1, 256,
             [](D& d, const V& v) { d.settings.interlay.threads = static_cast<int>(v.integer); }},
            {"interlay.control", KeyKind::path, "",
             "control socket; STATE.sock when it is left out", "", 0, 0,
             [](D& d, const V& v) { d.settings.interlay.control = v.text; }},
            {"interlay.drain_timeout", KeyKind::duration, R"("30s")",
             "how long a stopping interlay waits for its clients", "", 0, kDay,
             [](D& d, const V& v) { d.settings.interlay.drain_timeout_ms = v.integer; }},
            {"interlay.tls.cert", KeyKind::path, "",
             "PEM file of the listener's certificate; turns TLS on", "", 0, 0,
             [](D& d, const V& v) {
                 d.settings.interlay.tls.cert_file = v.text;
                 d.settings.interlay.tls.enabled = true;
             }},
            {"interlay.tls.key", KeyKind::path, "", "PEM file of the listener's key", "", 0, 0,
             [](D& d, const V& v) {
                 d.settings.interlay.tls.key_file = v.text;
                 d.settings.interlay.tls.enabled = true;
             }},
            {"interlay.tls.ca", KeyKind::path, "",
             "PEM file of the authorities that sign client certificates", "", 0, 0,
             [](D& d, const V& v) {
                 d.settings.interlay.tls.ca_file = v.text;
                 d.settings.interlay.tls.enabled = true;
             }},
            {"interlay.require_client_cert", KeyKind::boolean, "false",
             "refuse clients without a certificate of interlay.tls.ca", "", 0, 0,
             [](D& d, const V& v) { d.settings.interlay.require_client_cert = v.flag; }},
        });
}

void add_migrate(std::vector<KeySpec>& out) {
    out.insert(
        out.end(),
        {
            {"migrate.strategy", KeyKind::choice, R"("big-bang")", "how traffic changes its side",
             "big-bang|canary|blue-green", 0, 0,
             [](D& d, const V& v) {
                 d.settings.migrate.strategy =
                     choose<Strategy>(v.text, {{"big-bang", Strategy::big_bang},
                                               {"canary", Strategy::canary},
                                               {"blue-green", Strategy::blue_green}});
             }},
            {"migrate.conflict", KeyKind::choice, R"("fail")",
             "what happens to an item that the target already has", "fail|skip|overwrite|newer", 0,
             0,
             [](D& d, const V& v) {
                 d.settings.migrate.conflict =
                     choose<ConflictPolicy>(v.text, {{"fail", ConflictPolicy::fail},
                                                     {"skip", ConflictPolicy::skip},
                                                     {"overwrite", ConflictPolicy::overwrite},
                                                     {"newer", ConflictPolicy::newer}});
             }},
            {"migrate.data_movement", KeyKind::choice, R"("copy")",
             "copy everything, or repair only what differs", "copy|repair", 0, 0,
             [](D& d, const V& v) {
                 d.settings.migrate.data_movement = choose<DataMovement>(
                     v.text, {{"copy", DataMovement::copy}, {"repair", DataMovement::repair}});
             }},
            {"migrate.write_consistency", KeyKind::choice, R"("source")",
             "whose confirmation a write's answer waits for", "source|target|either|both", 0, 0,
             [](D& d, const V& v) {
                 d.settings.migrate.write_consistency =
                     choose<WriteConsistency>(v.text, {{"source", WriteConsistency::source},
                                                       {"target", WriteConsistency::target},
                                                       {"either", WriteConsistency::either},
                                                       {"both", WriteConsistency::both}});
             }},
            {"migrate.manual_approval", KeyKind::boolean, "true",
             "the switch needs `exodus approve switch` by a person", "", 0, 0,
             [](D& d, const V& v) { d.settings.migrate.manual_approval = v.flag; }},
            {"migrate.canary.steps", KeyKind::percents, "[5, 25, 50, 100]",
             "share of reads that the target answers, step by step", "", 0, 0,
             [](D& d, const V& v) { d.settings.migrate.canary.steps = v.numbers; }},
            {"migrate.canary.hold", KeyKind::duration, R"("10m")", "how long each step is observed",
             "", 0, kDay, [](D& d, const V& v) { d.settings.migrate.canary.hold_ms = v.integer; }},
            {"migrate.canary.abort.error_rate", KeyKind::number, "0.001",
             "share of errors beyond which a step is taken back", "", 0, 1,
             [](D& d, const V& v) { d.settings.migrate.canary.abort_error_rate = v.number; }},
            {"migrate.canary.abort.p99_ratio", KeyKind::number, "1.5",
             "target's p99 over the source's beyond which a step is taken back", "", 1, 1000,
             [](D& d, const V& v) { d.settings.migrate.canary.abort_p99_ratio = v.number; }},
        });
}

void add_compare_and_gates(std::vector<KeySpec>& out) {
    out.insert(
        out.end(),
        {
            {"compare.mirror_percent", KeyKind::percent, "100",
             "share of comparable reads sent to the target too", "", 0, 100,
             [](D& d, const V& v) { d.settings.compare.mirror_percent = v.number; }},
            {"compare.aa_percent", KeyKind::percent, "1",
             "share of comparable reads sent to the source twice, to measure its own noise", "", 0,
             100, [](D& d, const V& v) { d.settings.compare.aa_percent = v.number; }},
            {"compare.budget", KeyKind::number, "1e-5",
             "tolerated share of confirmed differences in answers", "", 0, 1,
             [](D& d, const V& v) { d.settings.compare.budget = v.number; }},
            {"compare.confidence", KeyKind::number, "0.99", "confidence of the statistical bound",
             "", 0.5, 0.999999, [](D& d, const V& v) { d.settings.compare.confidence = v.number; }},
            {"cutover.max_lag", KeyKind::duration, R"("200ms")",
             "more lag than this: the switch is not started, and the source answers a canary's "
             "reads; so it does for twice as long behind a session's own write",
             "", 1, kDay, [](D& d, const V& v) { d.settings.cutover.max_lag_ms = v.integer; }},
            {"cutover.hold_timeout", KeyKind::duration, R"("3s")",
             "writes are held no longer than this; then the switch is aborted and they go on", "",
             50, 600e3, [](D& d, const V& v) { d.settings.cutover.hold_timeout_ms = v.integer; }},
            {"cutover.watch", KeyKind::duration, R"("24h")",
             "how long the target is watched before `commit` is allowed", "", 0, 365 * kDay,
             [](D& d, const V& v) { d.settings.cutover.watch_ms = v.integer; }},
            {"scope.include", KeyKind::list, "[]", "glob patterns of what moves; empty: everything",
             "", 0, 0, [](D& d, const V& v) { d.settings.scope.include = v.list; }},
            {"scope.exclude", KeyKind::list, "[]", "glob patterns of what stays behind", "", 0, 0,
             [](D& d, const V& v) { d.settings.scope.exclude = v.list; }},
            {"gates.evidence_age", KeyKind::duration, R"("24h")", "older evidence does not count",
             "", 1000, 365 * kDay,
             [](D& d, const V& v) { d.settings.gates.evidence_age_ms = v.integer; }},
            {"gates.analyze_duration", KeyKind::duration, R"("60s")",
             "how long analyze observes at least", "", 0, 30 * kDay,
             [](D& d, const V& v) { d.settings.gates.analyze_duration_ms = v.integer; }},
            {"gates.analyze_requests_min", KeyKind::integer, "1000",
             "how many requests analyze observes at least", "", 0, 1e15,
             [](D& d, const V& v) {
                 d.settings.gates.analyze_requests_min = static_cast<uint64_t>(v.integer);
             }},
            {"gates.compare_samples_min", KeyKind::integer, "299572",
             "comparisons that gate G3 needs (299572: 1e-5 at 95 % with no difference seen)", "", 0,
             1e15,
             [](D& d, const V& v) {
                 d.settings.gates.compare_samples_min = static_cast<uint64_t>(v.integer);
             }},
            {"gates.ready_lag", KeyKind::duration, R"("1s")", "lag that still counts as following",
             "", 1, kDay, [](D& d, const V& v) { d.settings.gates.ready_lag_ms = v.integer; }},
            {"gates.ready_lag_for", KeyKind::duration, R"("60s")",
             "for how long the lag must be that small", "", 0, kDay,
             [](D& d, const V& v) { d.settings.gates.ready_lag_for_ms = v.integer; }},
        });
}

std::vector<KeySpec> make_specs() {
    std::vector<KeySpec> out;
    out.push_back({"migration", KeyKind::text, R"("migration")",
                   "name of the migration; a switch, a rollback and a commit ask for it", "", 0, 0,
                   [](D& d, const V& v) { d.settings.migration = v.text; }});
    out.push_back({"state", KeyKind::path, R"("exodus.db")", "the state file", "", 0, 0,
                   [](D& d, const V& v) { d.settings.state_path = v.text; }});
    add_endpoint<&SettingsDraft::source>(
        out, {"source.family", "source.uri", "source.user", "source.password_file",
              "source.password_env", "source.password_command", "source.password_credential",
              "source.tls.ca", "source.tls.cert", "source.tls.key", "source.tls.server_name",
              "source.tls.verify"});
    add_endpoint<&SettingsDraft::target>(
        out, {"target.family", "target.uri", "target.user", "target.password_file",
              "target.password_env", "target.password_command", "target.password_credential",
              "target.tls.ca", "target.tls.cert", "target.tls.key", "target.tls.server_name",
              "target.tls.verify"});
    add_interlay(out);
    add_migrate(out);
    add_compare_and_gates(out);
    return out;
}

tl::unexpected<Error> wrong(std::string message, std::string hint = {}) {
    return fail(ErrorCode::config, std::move(message), std::move(hint));
}

Status in_range(const KeySpec& spec, double value, const std::string& text) {
    if (value >= spec.min && value <= spec.max) return {};
    if (spec.kind == KeyKind::duration) {
        return wrong(fmt::format("'{}' is outside {} … {}", text,
                                 format_duration_ms(static_cast<int64_t>(spec.min)),
                                 format_duration_ms(static_cast<int64_t>(spec.max))));
    }
    return wrong(fmt::format("'{}' is outside {} … {}", text, spec.min, spec.max));
}

}  // namespace

std::string_view to_string(KeyKind kind) {
    switch (kind) {
        case KeyKind::text:
            return "text";
        case KeyKind::path:
            return "path";
        case KeyKind::boolean:
            return "true|false";
        case KeyKind::integer:
            return "integer";
        case KeyKind::number:
            return "number";
        case KeyKind::percent:
            return "percentage";
        case KeyKind::duration:
            return "duration";
        case KeyKind::list:
            return "list of texts";
        case KeyKind::percents:
            return "list of percentages";
        case KeyKind::choice:
            return "choice";
        case KeyKind::command:
            return "text or list";
    }
    return "text";
}

const std::vector<KeySpec>& key_specs() {
    static const std::vector<KeySpec> specs = make_specs();
    return specs;
}

const KeySpec* find_key(std::string_view key) {
    for (const KeySpec& spec : key_specs()) {
        if (spec.key == key) return &spec;
    }
    return nullptr;
}

Result<KeyValue> convert_list(const KeySpec& spec, const std::vector<std::string>& items) {
    KeyValue out;
    if (spec.kind == KeyKind::percents) {
        for (const std::string& item : items) {
            const auto value = parse_percent(item);
            if (!value) return wrong(fmt::format("'{}' is not a percentage (0 … 100)", item));
            out.numbers.push_back(*value);
        }
        if (out.numbers.empty()) return wrong("the list is empty");
        if (!std::is_sorted(out.numbers.begin(), out.numbers.end()))
            return wrong("the steps must rise");
        return out;
    }
    if (spec.kind == KeyKind::list || spec.kind == KeyKind::command) {
        out.list = items;
        if (spec.kind == KeyKind::command && (items.empty() || items[0].empty())) {
            return wrong("the command is empty");
        }
        return out;
    }
    return wrong(fmt::format("must be a {}, not a list", to_string(spec.kind)));
}

Result<KeyValue> convert(const KeySpec& spec, const std::string& text) {
    KeyValue out;
    out.text = text;
    switch (spec.kind) {
        case KeyKind::text:
        case KeyKind::path:
            return out;
        case KeyKind::list:
        case KeyKind::percents:
            return convert_list(spec, split_list(text));
        case KeyKind::command:
            if (trim(text).empty()) return wrong("the command is empty");
            out.list = {"/bin/sh", "-c", text};
            return out;
        case KeyKind::boolean: {
            const auto value = parse_bool(text);
            if (!value) return wrong(fmt::format("'{}' is neither true nor false", text));
            out.flag = *value;
            return out;
        }
        case KeyKind::integer: {
            const auto value = parse_integer(text);
            if (!value) return wrong(fmt::format("'{}' is not a whole number", text));
            out.integer = *value;
            EXODUS_TRY(in_range(spec, static_cast<double>(*value), text));
            return out;
        }
        case KeyKind::number: {
            const auto value = parse_number(text);
            if (!value) return wrong(fmt::format("'{}' is not a number", text));
            out.number = *value;
            EXODUS_TRY(in_range(spec, *value, text));
            return out;
        }
        case KeyKind::percent: {
            const auto value = parse_percent(text);
            if (!value) return wrong(fmt::format("'{}' is not a percentage (0 … 100)", text));
            out.number = *value;
            return out;
        }
        case KeyKind::duration: {
            const auto value = parse_duration_ms(text);
            if (!value) {
                const bool bare = parse_number(text).has_value();
                return wrong(fmt::format("'{}' is not a duration{}", text,
                                         bare ? ": the unit is missing" : ""),
                             bare ? fmt::format("write \"{}ms\" or \"{}s\"", trim(text), trim(text))
                                  : "write for example \"200ms\", \"3s\", \"10m\" or \"24h\"");
            }
            out.integer = *value;
            EXODUS_TRY(in_range(spec, static_cast<double>(*value), text));
            return out;
        }
        case KeyKind::choice: {
            std::vector<std::string> words;
            std::string_view rest = spec.choices;
            while (!rest.empty()) {
                const auto bar = rest.find('|');
                words.emplace_back(rest.substr(0, bar));
                rest = bar == std::string_view::npos ? std::string_view{} : rest.substr(bar + 1);
            }
            if (std::find(words.begin(), words.end(), text) != words.end()) return out;
            const auto meant = nearest(text, words);
            return wrong(fmt::format("'{}' is not one of {}", text, fmt::join(words, ", ")),
                         meant ? fmt::format("did you mean \"{}\"?", *meant) : std::string{});
        }
    }
    return out;
}

}  // namespace exodus
