#include "config/config.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fstream>
#include <sstream>
#include <sys/stat.h>
#include <toml++/toml.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/limits.h"
#include "base/values.h"
#include "config/keys.h"
#include "config/resolve.h"
#include "config/secrets.h"
#include "config/uri.h"
#include "config/users.h"

namespace exodus {

namespace {

/// A value as it was written, before its kind is known.
struct Raw {
    std::string text;
    std::vector<std::string> list;
    bool is_list = false;
    std::string origin;
    std::string file;
    int line = 0;
};

int line_of(const toml::node& node) { return static_cast<int>(node.source().begin.line); }

/// A scalar's text; nothing for tables, arrays, dates and times, which no key wants.
std::optional<std::string> scalar_text(const toml::node& node) {
    if (const auto* text = node.as_string()) return text->get();
    if (const auto* number = node.as_integer()) return fmt::format("{}", number->get());
    if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
    if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
    return std::nullopt;
}

class Loader {
  public:
    explicit Loader(const ConfigInput& input) : input_(input) {
        draft_.settings.config_hash.clear();
        for (const SchemeInfo& scheme : input.schemes) {
            if (std::find(families_.begin(), families_.end(), scheme.family) == families_.end()) {
                families_.push_back(scheme.family);
            }
        }
    }

    tl::expected<Settings, std::vector<ConfigError>> run(std::vector<ConfigValue>* values) {
        if (!input_.file.empty()) read_file();
        read_environment_and_flags();
        apply_all();
        ResolveContext context{input_, draft_, errors_,
                               [this](std::string_view key) { return place(key); }};
        resolve(context);
        if (values != nullptr) report(*values);
        if (!errors_.empty()) {
            std::stable_sort(errors_.begin(), errors_.end(), [](const auto& a, const auto& b) {
                const auto rank = [](const ConfigError& e) {
                    return e.line == 0 ? 1 << 30 : e.line;
                };
                return rank(a) < rank(b);
            });
            return tl::unexpected(std::move(errors_));
        }
        draft_.settings.config_hash = settings_hash(draft_.settings);
        return std::move(draft_.settings);
    }

  private:
    void error(const Raw& raw, std::string_view key, std::string message,
               std::string suggestion = {}) {
        errors_.push_back(
            {raw.file, raw.line, std::string(key), std::move(message), std::move(suggestion)});
    }

    /// File and line of a key, for errors that are found after reading.
    ConfigError place(std::string_view key) const {
        ConfigError out;
        out.key = std::string(key);
        const auto found = raw_.find(out.key);
        if (found != raw_.end()) {
            out.file = found->second.file;
            out.line = found->second.line;
        } else {
            out.file = input_.file;
        }
        return out;
    }

    void read_file() {
        Raw here;
        here.file = input_.file;
        struct stat info {};
        if (::stat(input_.file.c_str(), &info) != 0) {
            error(here, "", fmt::format("cannot read the configuration: {}", std::strerror(errno)),
                  "write one with `exodus init`, or name another with --config");
            return;
        }
        if (!S_ISREG(info.st_mode))
            return error(here, "", "the configuration is not a regular file");
        if (static_cast<std::size_t>(info.st_size) > limits::kConfigFile_bytes_max) {
            return error(
                here, "",
                fmt::format("the configuration is larger than {} bytes; is it the right file?",
                            limits::kConfigFile_bytes_max));
        }
        std::ifstream stream(input_.file, std::ios::binary);
        std::ostringstream text;
        text << stream.rdbuf();
        if (!stream) {
            return error(here, "",
                         fmt::format("cannot read the configuration: {}", std::strerror(errno)));
        }
        // toml++ throws on a syntax error; it ends here.
        try {
            const toml::table root = toml::parse(text.str(), input_.file);
            walk(root, "");
        } catch (const toml::parse_error& failure) {
            here.line = static_cast<int>(failure.source().begin.line);
            error(here, "", fmt::format("not valid TOML: {}", failure.description()));
        }
    }

    bool is_table_prefix(const std::string& path) const {
        if (path == "migrate.throttle") return true;
        return std::any_of(key_specs().begin(), key_specs().end(),
                           [&](const KeySpec& spec) { return spec.key.starts_with(path + "."); });
    }

    Raw raw_from(const toml::node& node) const {
        Raw raw;
        raw.file = input_.file;
        raw.line = line_of(node);
        raw.origin = fmt::format("{}:{}", input_.file, raw.line);
        return raw;
    }

    void walk(const toml::table& table, const std::string& prefix) {
        for (const auto& [name, node] : table) {
            const std::string path =
                prefix.empty() ? std::string(name.str()) : prefix + "." + std::string(name.str());
            Raw raw = raw_from(node);
            const bool family_table =
                prefix.empty() &&
                std::find(families_.begin(), families_.end(), path) != families_.end();
            if (path == "compare.rule") {
                read_rules(node, raw);
            } else if (path == "interlay.user") {
                draft_.settings.interlay.users =
                    read_users(node, input_,
                               [&](int line, const std::string& key, std::string message,
                                   std::string suggestion) {
                                   errors_.push_back({input_.file, line, key, std::move(message),
                                                      std::move(suggestion)});
                               });
            } else if (family_table || path == "migrate.throttle") {
                if (const auto* inner = node.as_table()) {
                    flatten(*inner, "",
                            family_table ? draft_.settings.family_options
                                         : draft_.settings.migrate.throttle,
                            path);
                } else {
                    error(raw, path, "must be a table");
                }
            } else if (find_key(path) != nullptr) {
                store(path, node, std::move(raw));
            } else if (is_table_prefix(path)) {
                if (const auto* inner = node.as_table()) {
                    walk(*inner, path);
                } else {
                    error(raw, path, "must be a table",
                          fmt::format("write [{}] or {} = {{ … }}", path, path));
                }
            } else {
                unknown(raw, path);
            }
        }
    }

    void unknown(const Raw& raw, const std::string& path) {
        std::vector<std::string> known;
        for (const KeySpec& spec : key_specs()) known.emplace_back(spec.key);
        std::vector<std::string> tables = {"source",  "target",  "interlay", "migrate",
                                           "compare", "cutover", "scope",    "gates"};
        tables.insert(tables.end(), families_.begin(), families_.end());
        if (path.find('.') == std::string::npos)
            known.insert(known.end(), tables.begin(), tables.end());
        auto meant = nearest(path, known);
        if (!meant) {
            // Right word, wrong table: "listen" at the top means interlay.listen.
            const std::string last = path.substr(path.rfind('.') + 1);
            for (const std::string& key : known) {
                if (key.ends_with("." + last)) meant = key;
            }
        }
        error(raw, path, "unknown key",
              meant ? fmt::format("did you mean {}?", *meant) : std::string{});
    }

    void store(const std::string& path, const toml::node& node, Raw raw) {
        if (const auto* array = node.as_array()) {
            raw.is_list = true;
            for (const toml::node& item : *array) {
                auto text = scalar_text(item);
                if (!text)
                    return error(raw_from(item), path,
                                 "an element of the list is not a plain value");
                raw.list.push_back(std::move(*text));
            }
            raw_[path] = std::move(raw);
            return;
        }
        auto text = scalar_text(node);
        if (!text) {
            return error(raw, path, fmt::format("must be a {}", to_string(find_key(path)->kind)));
        }
        raw.text = std::move(*text);
        raw_[path] = std::move(raw);
    }

    void flatten(const toml::table& table, const std::string& prefix,
                 std::map<std::string, std::string>& out, const std::string& shown) {
        for (const auto& [name, node] : table) {
            const std::string key =
                prefix.empty() ? std::string(name.str()) : prefix + "." + std::string(name.str());
            const std::string path = fmt::format("{}.{}", shown, key);
            const Raw raw = raw_from(node);
            std::string value;
            if (const auto* inner = node.as_table()) {
                flatten(*inner, key, out, shown);
                continue;
            }
            if (const auto* array = node.as_array()) {
                std::vector<std::string> items;
                for (const toml::node& item : *array) {
                    if (auto text = scalar_text(item)) items.push_back(std::move(*text));
                }
                value = fmt::format("{}", fmt::join(items, ","));
            } else if (auto text = scalar_text(node)) {
                value = std::move(*text);
            } else {
                error(raw, path, "must be a plain value or a list");
                continue;
            }
            out[key] = value;
            Raw kept = raw;
            kept.text = value;
            raw_[path] = std::move(kept);
        }
    }

    void read_rules(const toml::node& node, const Raw& raw) {
        const auto* array = node.as_array();
        if (array == nullptr)
            return error(raw, "compare.rule", "must be written as [[compare.rule]]");
        for (const toml::node& item : *array) {
            const auto* table = item.as_table();
            const Raw here = raw_from(item);
            if (table == nullptr) {
                error(here, "compare.rule", "must be written as [[compare.rule]]");
                continue;
            }
            CompareSettings::Rule rule;
            for (const auto& [name, value] : *table) {
                const Raw at = raw_from(value);
                if (name.str() == "action") {
                    rule.action = scalar_text(value).value_or("");
                    const std::vector<std::string> known = {"exact", "unordered", "ignore"};
                    if (std::find(known.begin(), known.end(), rule.action) == known.end()) {
                        const auto meant = nearest(rule.action, known);
                        error(
                            at, "compare.rule.action",
                            fmt::format("'{}' is not one of exact, unordered, ignore", rule.action),
                            meant ? fmt::format("did you mean \"{}\"?", *meant) : std::string{});
                    }
                } else if (name.str() == "commands") {
                    const auto* list = value.as_array();
                    if (list == nullptr) {
                        error(at, "compare.rule.commands", "must be a list of command names");
                        continue;
                    }
                    for (const toml::node& word : *list) {
                        std::string text = scalar_text(word).value_or("");
                        std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) {
                            return static_cast<char>(std::toupper(c));
                        });
                        if (text.empty())
                            error(raw_from(word), "compare.rule.commands", "not a command name");
                        rule.commands.push_back(std::move(text));
                    }
                } else {
                    const auto meant = nearest(name.str(), {"commands", "action"});
                    error(at, fmt::format("compare.rule.{}", name.str()), "unknown key",
                          meant ? fmt::format("did you mean {}?", *meant)
                                : "known are commands and action");
                }
            }
            if (rule.commands.empty())
                error(here, "compare.rule", "a rule needs commands = [\"…\"]");
            if (rule.action.empty()) error(here, "compare.rule", "a rule needs action = \"…\"");
            draft_.settings.compare.rules.push_back(std::move(rule));
        }
    }

    void read_environment_and_flags() {
        for (const KeySpec& spec : key_specs()) {
            const std::string name = environment_name(spec.key);
            if (const auto value = input_.environment ? input_.environment(name) : std::nullopt) {
                Raw raw;
                raw.text = *value;
                raw.file = "environment " + name;
                raw.origin = name;
                raw_[std::string(spec.key)] = std::move(raw);
            }
        }
        for (const auto& [key, value] : input_.flags) {
            Raw raw;
            raw.text = value;
            raw.file = "command line";
            raw.origin = "flag";
            if (key.starts_with("migrate.throttle.")) {
                draft_.settings.migrate.throttle[key.substr(std::strlen("migrate.throttle."))] =
                    value;
            } else {
                EXODUS_ASSERT(find_key(key) != nullptr);
            }
            raw_[key] = std::move(raw);
        }
    }

    void apply_all() {
        const std::string directory = std::filesystem::path(input_.file).parent_path().string();
        for (const KeySpec& spec : key_specs()) {
            const auto found = raw_.find(std::string(spec.key));
            if (found == raw_.end()) continue;
            Raw& raw = found->second;
            auto value = raw.is_list ? convert_list(spec, raw.list) : convert(spec, raw.text);
            if (!value) {
                error(raw, spec.key, value.error().message, value.error().hint);
                continue;
            }
            const bool relative = spec.kind == KeyKind::path && !value->text.empty() &&
                                  raw.line != 0 && value->text.front() != '/';
            if (relative && !directory.empty()) value->text = directory + "/" + value->text;
            spec.apply(draft_, *value);
        }
    }

    void report(std::vector<ConfigValue>& values) const {
        for (const KeySpec& spec : key_specs()) {
            const auto found = raw_.find(std::string(spec.key));
            if (found == raw_.end()) {
                values.push_back(
                    {std::string(spec.key), std::string(spec.default_text), "default"});
                continue;
            }
            const Raw& raw = found->second;
            std::string text =
                raw.is_list ? fmt::format("[{}]", fmt::join(raw.list, ", ")) : raw.text;
            // The words of a command may hold a token; an unusable URI may hold a password.
            if (spec.kind == KeyKind::command) text = "(set)";
            if (spec.key.ends_with(".uri") && !parse_uri(text)) text = "(not usable, not shown)";
            values.push_back({std::string(spec.key), std::move(text), raw.origin});
        }
        for (const auto& [key, raw] : raw_) {
            if (find_key(key) != nullptr) continue;
            // No family has an option for a secret: this one stands in the wrong place.
            const bool secret =
                key.find("pass") != std::string::npos || key.find("secret") != std::string::npos;
            values.push_back({key, secret ? "(not shown)" : raw.text, raw.origin});
        }
        for (const CompareSettings::Rule& rule : draft_.settings.compare.rules) {
            values.push_back({"compare.rule",
                              fmt::format("{} for {}", rule.action, fmt::join(rule.commands, ", ")),
                              input_.file});
        }
    }

    const ConfigInput& input_;
    SettingsDraft draft_;
    std::map<std::string, Raw> raw_;
    std::vector<std::string> families_;
    std::vector<ConfigError> errors_;
};

}  // namespace

std::string ConfigError::text() const {
    std::string out;
    if (!file.empty())
        out += line > 0 ? fmt::format("{}:{}: ", file, line) : fmt::format("{}: ", file);
    if (!key.empty()) out += key + ": ";
    out += message;
    if (!suggestion.empty()) out += "; " + suggestion;
    return out;
}

std::string environment_name(std::string_view key) {
    std::string out = "EXODUS_";
    for (const char c : key) {
        out += c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    }
    return out;
}

std::vector<ConfigKeyInfo> config_keys() {
    std::vector<ConfigKeyInfo> out;
    for (const KeySpec& spec : key_specs()) {
        out.push_back({spec.key, spec.kind == KeyKind::choice ? spec.choices : to_string(spec.kind),
                       spec.default_text, spec.help});
    }
    return out;
}

tl::expected<Settings, std::vector<ConfigError>> load_settings(const ConfigInput& input,
                                                               std::vector<ConfigValue>* values) {
    return Loader(input).run(values);
}

}  // namespace exodus
