#include "cli/progress.h"

#include <fmt/format.h>

#include "base/limits.h"
#include "base/values.h"

namespace exodus::cli {

std::string progress_text(const Progress& p) {
    std::string out = fmt::format("{}: {}", p.phase, printable(p.step));
    const auto add = [&](std::string text) { out += "   " + text; };
    if (p.total > 0) {
        const double share = 100.0 * static_cast<double>(p.done) / static_cast<double>(p.total);
        add(fmt::format("{} of {}{} {}  {:.{}f} %", with_thousands(p.done),
                        p.total_is_estimate ? "~" : "", with_thousands(p.total), p.unit,
                        share > 100 ? 100.0 : share, share < 10 ? 1 : 0));
    } else if (p.done > 0) {
        add(fmt::format("{} {}", with_thousands(p.done), p.unit));
    }
    if (p.rate > 0)
        add(fmt::format("{} {}/s", with_thousands(static_cast<uint64_t>(p.rate)), p.unit));
    if (p.bytes_per_s > 0) add(format_bytes(static_cast<uint64_t>(p.bytes_per_s)) + "/s");
    if (p.lag_ms) add("lag " + human_duration(*p.lag_ms));
    if (p.eta_ms) add("ETA ~" + human_duration(*p.eta_ms));
    if (!p.throttled.empty()) add("throttled: " + printable(p.throttled));
    if (!p.waiting_for.empty()) add("waiting for " + printable(p.waiting_for));
    return out;
}

nlohmann::json to_json(const Progress& p) {
    nlohmann::json out = {{"type", "progress"},
                          {"phase", p.phase},
                          {"step", p.step},
                          {"done", p.done},
                          {"total", p.total},
                          {"total_is_estimate", p.total_is_estimate},
                          {"unit", p.unit},
                          {"rate", p.rate},
                          {"bytes_per_s", p.bytes_per_s},
                          {"waiting_for", p.waiting_for},
                          {"throttled", p.throttled}};
    if (p.lag_ms) out["lag_ms"] = *p.lag_ms;
    if (p.eta_ms) out["eta_ms_estimate"] = *p.eta_ms;
    return out;
}

void ProgressPrinter::show(const Progress& progress, int64_t now_us) {
    if (out_.quiet()) return;
    // Numbers in the reason change all the time; only another reason is a change.
    std::string key = progress.phase + '\n' + progress.step + '\n' + progress.waiting_for;
    std::erase_if(key, [](char c) { return c >= '0' && c <= '9'; });
    {
        const std::lock_guard lock(mutex_);
        const bool redraw = out_.terminal() && !out_.json();
        const int64_t every_us =
            (redraw ? limits::kProgressRedraw_ms : limits::kProgressLine_ms) * 1000;
        const bool known = key == last_keys_[0] || key == last_keys_[1];
        if (key != last_keys_[0]) {
            last_keys_[1] = std::move(last_keys_[0]);
            last_keys_[0] = std::move(key);
        }
        if (known && now_us - last_shown_us_ < every_us) return;
        last_shown_us_ = now_us;
    }
    if (out_.json()) {
        out_.object(to_json(progress));
    } else {
        out_.progress_line(progress_text(progress));
    }
}

}  // namespace exodus::cli
