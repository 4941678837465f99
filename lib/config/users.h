// [[interlay.user]]: who may log in to the interlay, and as whom each of them is known to the two
// servers. Reads the table and the secrets that it names; messages never repeat one.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <toml++/toml.h>

#include "config/config.h"
#include "core/settings.h"

namespace exodus {

/// Takes a line of the file, the key, what is wrong, what to write instead.
using UserError = std::function<void(int line, const std::string& key, std::string message,
                                     std::string suggestion)>;

/// `node` is the array of tables. Users with errors are left out.
std::vector<ClientUser> read_users(const toml::node& node, const ConfigInput& input,
                                   const UserError& error);

}  // namespace exodus
