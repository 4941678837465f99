// What happened between two statuses, as events: an endpoint went away, the stream fell behind, the
// way back closed. Pure: it is given the object of /status once a second and remembers what it has
// told. A condition is told when it has lasted, and so is its end; each at most once in ten seconds
// per code and side, so that nothing that flickers fills the log, and what was told last is true.
// Counts are told when they begin and each time they have doubled.
#pragma once

#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "store/records.h"

namespace exodus {

/// One kind of condition: its codes, and how long it (its end) must have lasted.
struct ConditionRule;

class StatusEvents {
  public:
    /// `max_lag_ms`: cutover.max_lag.
    explicit StatusEvents(int64_t max_lag_ms) : max_lag_ms_(max_lag_ms) {}

    /// What has to be told now. `now_us` is steady and grows. Nothing while writes are held: an
    /// event is a transaction, and a switch waits for nobody's; what still holds is told behind it.
    std::vector<NewEvent> after(const nlohmann::json& status, int64_t now_us);

    /// The codes of all conditions and of their ends.
    static std::vector<std::string> codes();
    /// Before the first after(): goes on from what an earlier process told. `last` is the newest
    /// event of each code and subject, oldest first (WorkflowStore::last_events). What it told and
    /// still holds is not told again, and what is over meanwhile is.
    void go_on(const std::vector<EventRow>& last);
    /// cutover.max_lag, when the configuration has changed.
    void set_max_lag(int64_t ms) { max_lag_ms_ = ms; }

  private:
    static constexpr int64_t kNever_us = -3'600'000'000;

    struct Level {
        bool told = false;
        int64_t since_us = kNever_us;  ///< the opposite of what was told has lasted since then
        std::array<int64_t, 2> told_us{kNever_us, kNever_us};  ///< its end, its beginning
    };
    struct Count {
        std::optional<uint64_t> told;
        int64_t told_us = kNever_us;
    };
    struct Copy {
        std::optional<uint64_t> told_percent;  ///< none: no copy runs
        uint64_t done = 0;
        int64_t told_us = kNever_us;
    };
    /// Requests and errors at the start of a window.
    struct Window {
        int64_t began_us = kNever_us;
        uint64_t requests = 0;
        uint64_t errors = 0;
    };
    /// The two texts of a condition.
    struct Texts {
        std::string on;
        std::string over;
        const char* severity = "warn";
        nlohmann::json data = nlohmann::json::object();  ///< beside the subject
    };

    void look_at_endpoint(const std::string& side);
    void look_at_movement(const std::string& direction);
    void look_at_copy(const std::string& direction);
    void look_at_queue(const std::string& direction);
    void look_at_lag();
    void look_at_way_back();
    void look_at_answers();
    void look_at_errors();
    void look_at_losses();
    void look_at_configuration();

    /// Tells a condition's beginning or end once it is due. `holds` none: it cannot be said now, or
    /// it is between its two limits; what was told stays.
    void condition(const ConditionRule& rule, const std::string& subject, std::optional<bool> holds,
                   const Texts& texts);
    /// Whether a count is to be told: it began, or has doubled (`each`: has grown, at most once a
    /// minute). The first one seen is what was there before.
    bool grew(const std::string& name, uint64_t now, bool each = false);
    void tell(const char* severity, const char* code, const std::string& subject, std::string text,
              nlohmann::json data = nlohmann::json::object());

    int64_t max_lag_ms_;
    std::map<std::string, Level> levels_;  ///< by code and subject
    std::map<std::string, Count> counts_;
    std::map<std::string, Copy> copies_;        ///< by direction
    std::map<std::string, std::string> roles_;  ///< by side: the one that it had first
    Window window_;
    // Of the call that runs:
    const nlohmann::json* status_ = nullptr;
    int64_t now_us_ = 0;
    std::vector<NewEvent> out_;
};

}  // namespace exodus
