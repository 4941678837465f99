// What an operator agreed to before a movement may do it; kept as positions of the journal, so that
// it holds in the interlay's process too, until the positions of the direction are erased.
#pragma once

#include <string_view>

namespace exodus {

/// The origin of this direction may write out everything once before its changes can be read. The
/// value says who agreed.
inline constexpr std::string_view kFullSyncConsent = "full-sync";

}  // namespace exodus
