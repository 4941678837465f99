// The table of all keys of exodus.toml: name, kind, default, help, and how a value gets into
// Settings. The loader, the template, `config show` and the manual's test read the same table, so
// they cannot disagree.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "config/secrets.h"
#include "core/settings.h"

namespace exodus {

enum class KeyKind {
    text,
    path,  ///< relative to the configuration file's directory
    boolean,
    integer,
    number,
    percent,
    duration,
    list,      ///< of texts
    percents,  ///< list of percentages
    choice,
    command,  ///< a text for the shell, or a list: program and arguments
};
std::string_view to_string(KeyKind kind);

/// A value after conversion; which member counts follows from the kind.
struct KeyValue {
    std::string text;
    bool flag = false;
    int64_t integer = 0;  ///< also milliseconds
    double number = 0;
    std::vector<std::string> list;
    std::vector<double> numbers;
};

/// Settings while they are being read: what is not a setting itself but leads to one.
struct EndpointDraft : PasswordSource {
    std::string family;
    std::string uri;
    std::string user;
    bool tls_given = false;
    TlsSettings tls;
};
struct SettingsDraft {
    Settings settings;
    EndpointDraft source;
    EndpointDraft target;
};

struct KeySpec {
    std::string_view key;
    KeyKind kind;
    std::string_view default_text;  ///< TOML
    std::string_view help;          ///< one sentence without a full stop
    std::string_view choices;       ///< "a|b" for choice
    double min;                     ///< for integer, number, duration (ms)
    double max;
    void (*apply)(SettingsDraft&, const KeyValue&);
};

const std::vector<KeySpec>& key_specs();
const KeySpec* find_key(std::string_view key);

/// Text (of a flag, a variable, or a TOML scalar printed as text) to a value of the spec's kind.
/// The error's message says what the value must look like.
Result<KeyValue> convert(const KeySpec& spec, const std::string& text);
Result<KeyValue> convert_list(const KeySpec& spec, const std::vector<std::string>& items);

}  // namespace exodus
