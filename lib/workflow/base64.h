// Base64 (RFC 4648) for key names that travel in JSON over the control socket: they are any bytes,
// JSON is UTF-8.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace exodus {

std::string base64_encode(std::string_view bytes);
/// Error `data` for anything that base64_encode cannot have made.
Result<std::string> base64_decode(std::string_view text);

}  // namespace exodus
