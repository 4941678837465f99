// What the gates' rules share: rows of a report from evidence that still counts. Internal to
// gates.cpp and gate_rules*.cpp.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "workflow/gates.h"

namespace exodus {

class GateRules {
  public:
    GateRules(Gate gate, const GateInput& input);
    /// Adds the rows of the gate. Errors are those of the store.
    Status apply();
    /// The report; its verdict is the worst row's.
    [[nodiscard]] GateReport report() const;

  private:
    Status pretest();
    Status analyze();
    Status compare();
    Status test();
    Status follow();
    Status switch_over();
    Status cutover();
    Status commit();
    Status commit_proofs();

    using Judge = std::function<Status(const nlohmann::json& data)>;
    /// Reads the latest evidence of a kind. Missing or stale adds a row; otherwise `judge` adds
    /// rows. A field of the wrong type fails the requirement.
    Status with_evidence(const char* kind, const std::string& requirement, const std::string& hint,
                         const Judge& judge);
    Status full_verify(const char* kind, const std::string& requirement);
    Status compare_classes(const nlohmann::json& data);
    Status workers_current();
    void add(std::string requirement, std::string found, GateVerdict verdict,
             std::string hint = {});
    void add(std::string requirement, std::string found, bool passed, std::string hint);
    /// The newest acknowledgement of a check by name, as "mira@ops1: reason"; empty when there is
    /// none.
    Result<std::string> acknowledged(const std::string& check);
    Result<std::optional<DecisionRow>> approval(std::string_view subject);

    const GateInput& in_;
    GateReport report_;
};

}  // namespace exodus
