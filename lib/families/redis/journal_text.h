// Long texts and binary names in the journal, whose values are bounded: a text is kept as numbered
// pieces.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/journal.h"

namespace exodus::redis {

/// Saves `text` of any length as `name:0…` and how many pieces there are, all or nothing.
Status save_text(Journal& journal, std::string_view direction, const std::string& name,
                 std::string_view text);
/// nullopt when nothing was saved.
Result<std::optional<std::string>> load_text(Journal& journal, std::string_view direction,
                                             const std::string& name);

std::string to_hex(std::string_view bytes);
std::string from_hex(std::string_view text);

}  // namespace exodus::redis
