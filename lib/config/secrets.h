// Where passwords come from: a private file, an environment variable, a command, a systemd
// credential. Reads them into Secret; messages name the source and never what was in it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/secret.h"

namespace exodus {

/// Refuses a file that group or others may read (root's own may be readable by the group, as
/// orchestrators mount them).
Status check_secret_file(const std::string& path);
/// The file's text without the last newline. At most kSecret_bytes_max.
Result<Secret> secret_from_file(const std::string& path);
/// What the command prints, without the last newline. Its stderr goes to ours; it gets no stdin.
Result<Secret> secret_from_command(const std::vector<std::string>& argv, milliseconds timeout);
/// $CREDENTIALS_DIRECTORY/name, as systemd's LoadCredential= provides it.
Result<Secret> secret_from_credential(
    const std::string& name,
    const std::function<std::optional<std::string>(std::string_view)>& environment);

/// Where a password comes from, as it was written; at most one of them.
struct PasswordSource {
    std::string password_file;
    std::string password_env;
    std::vector<std::string> password_command;
    std::string password_credential;
    [[nodiscard]] int given() const;
};

/// The password that a source names; empty when none is given, when `read` is false (only the form
/// is checked), or after an error, which `error` gets with the key that is wrong.
Secret read_password(const PasswordSource& source, bool read,
                     const std::function<std::optional<std::string>(std::string_view)>& environment,
                     const std::function<void(std::string_view key, std::string message,
                                              std::string suggestion)>& error);

}  // namespace exodus
