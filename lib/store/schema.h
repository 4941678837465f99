// The numbered schema steps, embedded from store/schema/**/NNN-*.sql at build time. Step N brings
// user_version N-1 to N.
#pragma once

#include <string_view>
#include <vector>

namespace exodus {

std::vector<std::string_view> state_schema();
std::vector<std::string_view> samples_schema();

}  // namespace exodus
