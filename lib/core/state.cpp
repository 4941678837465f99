#include "core/state.h"

#include <array>
#include <utility>

namespace exodus {

namespace {
constexpr std::array<std::pair<MigrationState, std::string_view>, 13> kNames{{
    {MigrationState::created, "new"},
    {MigrationState::pretested, "pretested"},
    {MigrationState::analyzed, "analyzed"},
    {MigrationState::compared, "compared"},
    {MigrationState::tested, "tested"},
    {MigrationState::copying, "copying"},
    {MigrationState::following, "following"},
    {MigrationState::ready, "ready"},
    {MigrationState::holding, "holding"},
    {MigrationState::switched, "switched"},
    {MigrationState::committed, "committed"},
    {MigrationState::rolled_back, "rolled_back"},
    {MigrationState::aborted, "aborted"},
}};
}  // namespace

std::string_view to_string(MigrationState state) {
    return kNames[static_cast<std::size_t>(state)].second;
}

std::optional<MigrationState> migration_state_from(std::string_view text) {
    for (const auto& [state, name] : kNames) {
        if (name == text) return state;
    }
    return std::nullopt;
}

}  // namespace exodus
