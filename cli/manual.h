// The manual pages inside the binary, and their text without roff for machines that have no man(1).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace exodus::cli {

struct ManualPage {
    std::string_view name;  ///< "exodus-migrate"
    int section = 1;
    std::string_view source;  ///< roff with the man macros
};

/// Made at build time from man/*.[157].
const std::vector<ManualPage>& manual_pages();

/// Plain text of a page that uses the macros which our pages use.
std::string manual_text(std::string_view roff);

}  // namespace exodus::cli
