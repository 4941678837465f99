// pretest: both endpoints answer with the needed rights and settings, captured traffic parses,
// events are recorded, and the source saw no exodus write. Applications still talk to the source.
// Ends in `pretested` when gate G1 holds.
#pragma once

#include <functional>

#include "workflow/phase_context.h"

namespace exodus {

/// A check of what is on this host, not on an endpoint. cli makes them: workflow knows no sockets.
struct HostCheck {
    CheckInfo info;
    std::function<std::vector<Finding>()> run;
};

struct PretestOptions {
    std::vector<std::string> only;  ///< check ids; empty: all
    std::vector<std::string> skip;
    std::vector<std::string> ack;   ///< warnings accepted by name; a decision row with the owner
    bool accept_full_sync = false;  ///< an endpoint may send everything once to give its stream
    std::vector<HostCheck> host_checks;  ///< behind those of the family
    /// Takes what Inspector::missing_users() gives; null: not asked for.
    std::function<Status(const Secret& requests)> users_out;
    TapSource* tap = nullptr;  ///< none: traffic is not looked at, which G1 reports
    milliseconds tap_duration{10'000};
};

PhaseOutcome run_pretest(PhaseContext& context, const PretestOptions& options);
/// --list: needs no lock and no endpoint.
std::vector<CheckInfo> list_checks(PhaseContext& context, const PretestOptions& options);

}  // namespace exodus
