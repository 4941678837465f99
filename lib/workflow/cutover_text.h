// JSON of a cutover's run and evidence, as the state file keeps it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "core/state.h"

namespace exodus::cutover_text {

inline nlohmann::json to_json(const Error& error) {
    return {
        {"code", static_cast<int>(error.code)}, {"message", error.message}, {"hint", error.hint}};
}

inline MigrationState state_from(const nlohmann::json& detail, const char* name,
                                 MigrationState otherwise) {
    return migration_state_from(detail.value(name, "")).value_or(otherwise);
}

}  // namespace exodus::cutover_text
