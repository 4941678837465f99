// The only file that names the families.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "core/family.h"

namespace exodus {

/// A new instance, or null for an unknown name.
std::unique_ptr<Family> make_family(std::string_view name);
std::vector<std::string_view> family_names();

}  // namespace exodus
