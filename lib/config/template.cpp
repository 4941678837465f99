// The commented exodus.toml of `exodus init`, made from the table of keys so that it never misses
// one.
#include <fmt/format.h>

#include "config/config.h"
#include "config/keys.h"

namespace exodus {

namespace {

std::string quote(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out + "\"";
}

/// "a.b.c" -> table "a", name "b.c" (dotted keys inside the table).
std::pair<std::string_view, std::string_view> split(std::string_view key) {
    const auto dot = key.find('.');
    if (dot == std::string_view::npos) return {"", key};
    return {key.substr(0, dot), key.substr(dot + 1)};
}

std::string_view table_comment(std::string_view table) {
    if (table == "source")
        return "Where the data is now. It stays complete and usable until `exodus commit`.";
    if (table == "target") return "Where the data goes.";
    if (table == "interlay") return "What applications connect to.";
    if (table == "migrate") return "The operator's decisions.";
    if (table == "compare") return "How answers of both sides are compared.";
    if (table == "cutover") return "The moment of the switch.";
    if (table == "scope") return "What moves.";
    if (table == "gates") return "What the gates ask for.";
    return "";
}

std::string example_of(const KeySpec& spec) {
    if (!spec.default_text.empty()) return std::string(spec.default_text);
    if (spec.key.ends_with("password_file")) return R"("exodus.secret")";
    if (spec.key.ends_with("password_env")) return R"("EXODUS_PASSWORD")";
    if (spec.key.ends_with("password_command")) return R"(["pass", "show", "exodus"])";
    if (spec.key.ends_with("password_credential")) return R"("exodus-password")";
    if (spec.key == "interlay.http") return R"("127.0.0.1:9464")";
    if (spec.key == "interlay.control") return R"("exodus.db.sock")";
    if (spec.kind == KeyKind::path) return R"("file.pem")";
    return R"("…")";
}

}  // namespace

std::string config_template(const TemplateInput& input) {
    std::string out =
        "# exodus.toml: one migration. `man exodus.toml` explains every key; `exodus config check` "
        "reads this file.\n"
        "# A line that starts with '# ' and a key shows the default.\n"
        "# Passwords never stand here: password_file, password_env, password_command or "
        "password_credential.\n\n";
    std::string_view table;
    for (const KeySpec& spec : key_specs()) {
        const auto [part, name] = split(spec.key);
        if (part != table) {
            table = part;
            out += fmt::format("\n# {}\n[{}]\n", table_comment(table), table);
        }
        std::string value;
        if (spec.key == "migration") value = quote(input.migration);
        if (spec.key == "source.family" || spec.key == "target.family") value = quote(input.family);
        if (spec.key == "source.uri") value = quote(input.source_uri);
        if (spec.key == "target.uri") value = quote(input.target_uri);
        out +=
            fmt::format("# {}{}\n", spec.help,
                        spec.choices.empty() ? std::string{} : fmt::format(" ({})", spec.choices));
        out += value.empty() ? fmt::format("# {} = {}\n", name, example_of(spec))
                             : fmt::format("{} = {}\n", name, value);
    }
    out +=
        "\n# Live limits of the copy; also changed while it runs: exodus ctl "
        "throttle.bytes_per_s=50MiB\n"
        "# [migrate.throttle]\n# bytes_per_s = \"50MiB\"\n"
        "\n# Answers whose order means nothing, or that are not compared at all.\n"
        "# [[compare.rule]]\n# commands = [\"SMEMBERS\"]\n# action = \"unordered\"\n";
    if (!input.family.empty()) {
        out += fmt::format("\n# What only the family {0} knows: see exodus.toml(5).\n[{0}]\n",
                           input.family);
    }
    return out;
}

}  // namespace exodus
