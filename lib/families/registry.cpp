#include "families/registry.h"

#include "families/redis/family.h"

namespace exodus {

std::unique_ptr<Family> make_family(std::string_view name) {
    if (name == "redis") return redis::make_redis_family();
    return nullptr;
}

std::vector<std::string_view> family_names() { return {"redis"}; }

}  // namespace exodus
