// Files that commands write for people and scripts: whole or not at all, and private.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace exodus::cli {

/// Replaces `path` by a new file (mode 0600) with this text. Errors: of the system, with the path.
Status write_whole(const std::string& path, std::string_view text);

}  // namespace exodus::cli
