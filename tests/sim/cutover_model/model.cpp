// The rules of the model. A write is lost when it is acknowledged by the source after the end
// position was read (the target will never get it) and the target is or becomes the authority, or
// when a worker writes to the target while the source has the durable authority.
#include "model.h"

#include <array>
#include <cstring>
#include <deque>
#include <map>

namespace exodus::model {

namespace {

enum Route : uint8_t { kOpen, kHold, kTarget };
enum Flight : uint8_t { kNone, kToSource, kToTarget };

struct Worker {
    uint8_t route = kOpen;   // what it follows
    uint8_t flight = kNone;  // one write decided and on its way; it may stall there for ever
};

// Program counter of the switching process.
enum Step : uint8_t {
    kBegin,
    kDrain,
    kFence,
    kEnd,
    kCatchUp,
    kSwitch,
    kRelease,
    kDone,
    kAbortLift,
    kAborted,
    kDead
};

struct State {
    std::array<Worker, 2> workers;
    uint8_t durable = kOpen;  // the route in the state file
    uint8_t published =
        kOpen;  // what workers can learn; differs from durable in the broken variant only
    uint8_t step = kBegin;
    uint8_t fenced = 0;
    uint8_t expired = 0;         // the fence's or the leases' time has run out
    uint8_t end_read = 0;        // the end position is stored
    uint8_t late = 0;            // the source acknowledged a write after that
    uint8_t target_written = 0;  // the target acknowledged a write
    uint8_t abort_made = 0;
    uint8_t crashes = 0;
    uint8_t writes = 0;  // bound
};
static_assert(std::has_unique_object_representations_v<State>);

using Key = std::string;
Key key_of(const State& state) { return {reinterpret_cast<const char*>(&state), sizeof state}; }

struct Move {
    std::string name;
    State state;
};

constexpr uint8_t kWrites = 3;  // writes begun in all; 2 suffice for every violation found
constexpr uint8_t kCrashes = 2;

class Rules {
  public:
    explicit Rules(Variant variant) : variant_(variant) {}

    std::vector<Move> moves(const State& s) const {
        std::vector<Move> out;
        for (std::size_t i = 0; i < 2; ++i) worker(s, i, out);
        process(s, out);
        time(s, out);
        return out;
    }

    /// Lost: the target is the durable authority and lacks an acknowledged write, or the source is
    /// (and no process is left that could still make the switch durable) and the target has
    /// acknowledged one.
    static bool violated(const State& s) {
        if (s.durable == kTarget && s.late != 0) return true;
        return s.durable != kTarget && s.target_written != 0;
    }

  private:
    void worker(const State& s, std::size_t i, std::vector<Move>& out) const {
        const std::string who = i == 0 ? "worker A " : "worker B ";
        const Worker& w = s.workers[i];
        if (w.route != s.published) {
            State next = s;
            next.workers[i].route = s.published;
            out.push_back({who + "learns the route", next});
        }
        if (w.flight == kNone && w.route != kHold && s.writes < kWrites) {
            State next = s;
            next.workers[i].flight = w.route == kTarget ? kToTarget : kToSource;
            ++next.writes;
            out.push_back({who + (w.route == kTarget ? "sends a write to the target"
                                                     : "sends a write to the source"),
                           next});
        }
        if (w.flight == kNone) return;
        State next = s;
        next.workers[i].flight = kNone;
        if (w.flight == kToTarget) {
            next.target_written = 1;
            out.push_back({who + "is acknowledged by the target", next});
            return;
        }
        const bool stands =
            s.fenced != 0 && !(variant_ == Variant::fence_expires && s.expired != 0);
        if (stands) {
            out.push_back({who + "is refused by the fence", next});
        } else {
            if (s.end_read != 0) next.late = 1;
            out.push_back({who + "is acknowledged by the source", next});
        }
    }

    /// C2's answer: both follow the hold and have nothing in flight. With leases a silent worker
    /// counts as stopped once its lease is over; with a fence the fence makes a silent one
    /// harmless, so the model lets C2 pass by time-out too.
    bool drained(const State& s) const {
        bool all = true;
        for (const Worker& w : s.workers) all = all && w.route == kHold && w.flight == kNone;
        return all || s.expired != 0;
    }

    void process(const State& s, std::vector<Move>& out) const {
        State n = s;
        const auto add = [&](const char* name) { out.push_back({name, n}); };
        switch (s.step) {
            case kBegin:
                n.durable = n.published = kHold;
                n.step = kDrain;
                add("C1 hold is durable");
                break;
            case kDrain:
                if (!drained(s)) break;
                n.step = variant_ == Variant::leases_alone ? kEnd : kFence;
                add("C2 workers stand still");
                break;
            case kFence:
                n.fenced = 1;
                n.step = kEnd;
                add("C3 the source is fenced");
                break;
            case kEnd:
                n.end_read = 1;
                n.step = kCatchUp;
                add("C4 the end position is stored");
                break;
            case kCatchUp:
                n.step = kSwitch;
                add("C5 everything up to it is applied");
                break;
            case kSwitch:
                if (variant_ == Variant::visible_before_durable) {
                    if (s.published != kTarget) {
                        n.published = kTarget;
                        add("C7 the switch is published");
                        break;
                    }
                    n.durable = kTarget;
                    n.step = kRelease;
                    add("C7 the switch is durable");
                    break;
                }
                n.durable = n.published = kTarget;
                n.step = kRelease;
                add("C7 the switch is durable, then visible");
                break;
            case kRelease:
                n.step = kDone;
                add("C8 released");
                break;
            case kAbortLift:
                n.fenced = 0;
                n.published = n.durable;
                n.step = kAborted;
                add("abort: the fence is lifted");
                break;
            case kDead:
                recover(s, out);
                break;
            default:
                break;
        }
        const bool can_abort = s.step > kBegin && s.step <= kSwitch;
        if (can_abort && !(variant_ == Variant::visible_before_durable && s.published == kTarget))
            abort(s, "abort is durable", out);
        if (s.step != kDone && s.step != kAborted && s.step != kDead && s.crashes < kCrashes) {
            State dead = s;
            dead.step = kDead;
            ++dead.crashes;
            out.push_back({"the process dies", dead});
        }
    }

    static void abort(const State& s, const char* name, std::vector<Move>& out) {
        State n = s;
        n.durable = n.published = kOpen;
        n.end_read = 0;  // the operation is over: nobody will use its end position
        n.late = 0;
        n.abort_made = 1;
        n.step = kAbortLift;
        out.push_back({name, n});
    }

    /// Run again: only what is durable is known.
    void recover(const State& s, std::vector<Move>& out) const {
        State n = s;
        if (s.durable == kTarget) {
            n.step = kRelease;
            out.push_back({"run again: completes the switch", n});
        } else if (s.durable == kHold) {
            abort(s, "run again: abort is durable", out);
            n.step = kDrain;
            out.push_back({"run again: resumes the hold", n});
        } else if (s.abort_made != 0) {
            n.step = kAbortLift;
            out.push_back({"run again: goes on with the abort", n});
        } else {
            n.step = kBegin;
            out.push_back({"run again: begins", n});
        }
    }

    void time(const State& s, std::vector<Move>& out) const {
        if (s.expired != 0 || s.durable != kHold) return;
        State n = s;
        n.expired = 1;
        out.push_back(
            {variant_ == Variant::fence_expires ? "the fence's time runs out" : "time passes", n});
    }

    Variant variant_;
};

}  // namespace

Found check(Variant variant) {
    struct From {
        Key parent;
        std::string move;
    };
    const Rules rules(variant);
    Found found;
    std::map<Key, From> seen;
    std::deque<State> open;
    const State start;
    seen.emplace(key_of(start), From{});
    open.push_back(start);
    while (!open.empty()) {
        const State state = open.front();
        open.pop_front();
        const Key key = key_of(state);
        found.switched |= state.step == kDone;
        found.aborted |= state.step == kAborted;
        if (Rules::violated(state)) {
            found.violated = true;
            for (Key at = key; !seen.at(at).move.empty(); at = seen.at(at).parent) {
                found.trace.insert(found.trace.begin(), seen.at(at).move);
            }
            break;
        }
        for (Move& move : rules.moves(state)) {
            if (seen.emplace(key_of(move.state), From{key, move.name}).second)
                open.push_back(move.state);
        }
    }
    found.states = seen.size();
    return found;
}

}  // namespace exodus::model
