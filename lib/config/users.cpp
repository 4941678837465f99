#include "config/users.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>

#include "base/limits.h"
#include "base/values.h"
#include "config/secrets.h"

namespace exodus {

namespace {

const std::vector<std::string> kKeys = {
    "name",
    "certificate",
    "password_sha256",
    "password_file",
    "password_env",
    "password_command",
    "password_credential",
    "source_user",
    "source_password_file",
    "source_password_env",
    "source_password_command",
    "source_password_credential",
    "target_user",
    "target_password_file",
    "target_password_env",
    "target_password_command",
    "target_password_credential",
};

bool is_sha256(std::string_view text) {
    return text.size() == 64 &&
           text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

class UserReader {
  public:
    UserReader(const toml::table& table, const ConfigInput& input, const UserError& error)
        : table_(table), input_(input), error_(error) {}

    std::optional<ClientUser> read() {
        check_keys();
        ClientUser user;
        user.name = text("name");
        user.certificate = text("certificate");
        user.password_sha256 = text("password_sha256");
        if (user.name.empty()) wrong("name", "missing: the name that a client logs in with");
        if (!user.password_sha256.empty() && !is_sha256(user.password_sha256)) {
            wrong("password_sha256", "must be 64 hexadecimal digits in lower case",
                  "printf %s PASSWORD | sha256sum, as in an ACL's #hash");
        }
        user.password = password("");
        const bool both = !user.password_sha256.empty() && has_password("");
        if (both) wrong("password_sha256", "the password is given twice", "keep one of them");
        const bool everybody = user.name == kEverybody;
        if (everybody &&
            (!user.password_sha256.empty() || !user.certificate.empty() || has_password("") ||
             !text("source_user").empty() || has_password("source_")))
            wrong("name", "everybody has only a user and a password on the target");
        if (!everybody && user.password_sha256.empty() && user.certificate.empty() &&
            !has_password(""))
            wrong("name", "the user has neither a password nor a certificate");
        for (ClientLogin* login : {&user.source, &user.target}) {
            const std::string side = login == &user.source ? "source_" : "target_";
            login->user = text(side + "user");
            login->password = password(side);
            if (!has_password(side) && !(everybody && side == "source_")) {
                wrong(side + "password_file",
                      fmt::format("missing: with which password the {} knows this user",
                                  side.substr(0, side.size() - 1)));
            }
        }
        return good_ ? std::optional(std::move(user)) : std::nullopt;
    }

  private:
    void wrong(const std::string& key, std::string message, std::string suggestion = {}) {
        good_ = false;
        const auto* node = table_.get(key);
        const auto& place = node != nullptr ? node->source() : table_.source();
        error_(static_cast<int>(place.begin.line), "interlay.user." + key, std::move(message),
               std::move(suggestion));
    }

    void check_keys() {
        for (const auto& [name, node] : table_) {
            const std::string key(name.str());
            const bool known = std::find(kKeys.begin(), kKeys.end(), key) != kKeys.end();
            const bool list = key.ends_with("password_command") && node.is_array();
            if (known && (node.is_string() || list)) continue;
            const auto meant = nearest(key, kKeys);
            if (known) {
                wrong(key, "must be a text");
            } else {
                wrong(key, "unknown key", meant ? fmt::format("did you mean {}?", *meant) : "");
            }
        }
    }

    std::string text(const std::string& key) const {
        return table_[key].value<std::string>().value_or("");
    }

    PasswordSource source_of(const std::string& prefix) const {
        PasswordSource out;
        out.password_file = text(prefix + "password_file");
        if (!out.password_file.empty()) {
            const auto directory = std::filesystem::path(input_.file).parent_path();
            out.password_file = (directory / out.password_file).string();
        }
        out.password_env = text(prefix + "password_env");
        out.password_credential = text(prefix + "password_credential");
        const auto* command = table_.get(prefix + "password_command");
        if (command == nullptr) return out;
        if (const auto* words = command->as_array()) {
            for (const auto& word : *words)
                out.password_command.push_back(word.value<std::string>().value_or(""));
        } else {
            out.password_command = {"/bin/sh", "-c", text(prefix + "password_command")};
        }
        return out;
    }

    [[nodiscard]] bool has_password(const std::string& prefix) const {
        return source_of(prefix).given() > 0;
    }

    Secret password(const std::string& prefix) {
        return read_password(
            source_of(prefix), input_.read_secrets, input_.environment,
            [&](std::string_view key, std::string message, std::string suggestion) {
                wrong(prefix + std::string(key), std::move(message), std::move(suggestion));
            });
    }

    const toml::table& table_;
    const ConfigInput& input_;
    const UserError& error_;
    bool good_ = true;
};

}  // namespace

std::vector<ClientUser> read_users(const toml::node& node, const ConfigInput& input,
                                   const UserError& error) {
    std::vector<ClientUser> users;
    const auto* array = node.as_array();
    const bool tables = array != nullptr && std::all_of(array->begin(), array->end(),
                                                        [](const auto& i) { return i.is_table(); });
    const int line = static_cast<int>(node.source().begin.line);
    if (!tables) {
        error(line, "interlay.user", "must be written as [[interlay.user]]", "");
        return users;
    }
    if (array->size() > limits::kClientUsers_max) {
        error(line, "interlay.user",
              fmt::format("more than {} users are configured", limits::kClientUsers_max), "");
        return users;
    }
    for (const auto& item : *array) {
        auto user = UserReader(*item.as_table(), input, error).read();
        if (!user) continue;
        const bool twice = std::any_of(users.begin(), users.end(), [&](const ClientUser& other) {
            return other.name == user->name ||
                   (!user->certificate.empty() && other.certificate == user->certificate);
        });
        if (twice) {
            error(static_cast<int>(item.source().begin.line), "interlay.user",
                  fmt::format("the name or certificate of '{}' is given twice", user->name), "");
            continue;
        }
        users.push_back(std::move(*user));
    }
    return users;
}

}  // namespace exodus
