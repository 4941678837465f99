// The planner against a reference: a model origin with expiries produces a stream of operations and
// groups while a copy runs; a model destination executes the plans with expiry in real (model)
// time, lags, crashes between send and reply, and a watermark table far too small. Keys are set
// aside as big ones are (their copies are whole here, the operations that follow them real). After
// the stream is drained both maps must be equal, key by key, value and expiry.
#include <algorithm>
#include <cstdlib>
#include <deque>
#include <doctest/doctest.h>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>

#include "families/redis/bigkey.h"
#include "families/redis/planner.h"

namespace exodus::redis {
namespace {

using Name = std::pair<int, std::string>;
struct Value {
    std::string text;
    int64_t expiry = -1;
    bool operator==(const Value&) const = default;
};

/// A server reduced to strings with expiries. `now` is frozen during a transaction.
class Server {
  public:
    std::map<Name, Value> data;

    Value* find(const Name& name, int64_t now) {
        const auto it = data.find(name);
        if (it == data.end()) return nullptr;
        if (it->second.expiry >= 0 && it->second.expiry <= now) {
            data.erase(it);
            return nullptr;
        }
        return &it->second;
    }

    /// Executes one command; the result of PEXPIRETIME, else 0.
    int64_t run(int db, const std::vector<std::string_view>& a, int64_t now) {
        const auto name = [&](std::size_t i) { return Name{db, std::string(a[i])}; };
        const std::string verb(a[0]);
        if (verb == "SET") {
            data[name(1)] = {std::string(a[2]), a.size() > 4 ? *to_number(a[4]) : -1};
        } else if (verb == "RESTORE") {
            const int64_t expiry = *to_number(a[2]);
            data.erase(name(1));
            if (expiry == 0 || expiry > now)
                data[name(1)] = {std::string(a[3]), expiry == 0 ? -1 : expiry};
        } else if (verb == "MSET") {
            for (std::size_t i = 1; i + 1 < a.size(); i += 2)
                data[name(i)] = {std::string(a[i + 1]), -1};
        } else if (verb == "DEL") {
            for (std::size_t i = 1; i < a.size(); ++i) data.erase(name(i));
        } else if (verb == "APPEND") {
            if (Value* value = find(name(1), now))
                value->text += a[2];
            else
                data[name(1)] = {std::string(a[2]), -1};
        } else if (verb == "PEXPIREAT") {
            if (Value* value = find(name(1), now)) value->expiry = *to_number(a[2]);
        } else if (verb == "PERSIST") {
            if (Value* value = find(name(1), now)) value->expiry = -1;
        } else if (verb == "RENAME") {
            if (Value* value = find(name(1), now)) {
                const Value moved = *value;
                data.erase(name(1));
                data[name(2)] = moved;
            }
        } else if (verb == "COPY") {
            const int to = static_cast<int>(*to_number(a[5]));
            if (Value* value = find(name(1), now)) data[{to, std::string(a[2])}] = Value(*value);
        } else if (verb == "SUNIONSTORE") {  // destination := concatenation of the others
            std::string all;
            for (std::size_t i = 2; i < a.size(); ++i) {
                if (Value* value = find(name(i), now)) all += value->text;
            }
            if (all.empty())
                data.erase(name(1));
            else
                data[name(1)] = {all.substr(0, 400), -1};
        } else if (verb == "SMOVE") {  // the last character of one goes to the other
            if (Value* value = find(name(1), now)) {
                const char c = value->text.back();
                value->text.pop_back();
                if (value->text.empty()) data.erase(name(1));
                if (Value* to = find(name(2), now))
                    to->text += c;
                else
                    data[name(2)] = {std::string(1, c), -1};
            }
        } else if (verb == "PEXPIRETIME") {
            Value* value = find(name(1), now);
            return value == nullptr ? -2 : value->expiry;
        } else {
            FAIL("model does not know " << verb);
        }
        return 0;
    }
};

struct Logged {
    int db;
    std::string raw;
    uint64_t end;
    uint64_t group;
};

class World {
  public:
    World(uint64_t seed, bool checks) : random_(seed), checks_(checks), capacity_(8 + seed % 40) {
        watermarks_ = std::make_unique<Watermarks>(capacity_);
        planner_ = std::make_unique<Planner>(*watermarks_, planner_options());
    }

    void run() {
        for (int i = 0; i < 60; ++i) write();
        checkpoint_ = applied_ = offset_;
        next_ = checkpoint_next_ = log_.size();
        const int steps = 150 + static_cast<int>(pick(100));
        const bool stalls = pick(2) == 0;
        for (int i = 0; i < steps; ++i) {
            now_ += static_cast<int64_t>(pick(8));
            if (pick(3) != 0) write();
            expire_some();
            if (pick(3) == 0) copy_chunk();
            if (stalls && pick(12) == 0) now_ += 200;
            if (pick(stalls ? 8 : 3) == 0) batch();
            if (pick(60) == 0) crash();
        }
        for (int i = 0; i < 4000 && !drained(); ++i) {
            copy_chunk();
            batch();
            now_ += static_cast<int64_t>(pick(4));
            expire_some();
        }
        REQUIRE(drained());
    }

    [[nodiscard]] int installed() const { return installed_; }

    /// Number of keys that differ.
    int differences() {
        int count = 0;
        std::set<Name> names;
        for (const auto& [name, value] : source_.data) names.insert(name);
        for (const auto& [name, value] : target_.data) names.insert(name);
        for (const auto& name : names) {
            const Value* a = source_.find(name, now_);
            const Value* b = target_.find(name, now_);
            if ((a == nullptr) != (b == nullptr) || (a != nullptr && !(*a == *b))) ++count;
        }
        return count;
    }

  private:
    uint64_t pick(uint64_t n) { return random_() % n; }
    std::string key() { return "k" + std::to_string(pick(14)); }

    void emit(int db, const std::vector<std::string>& words, uint64_t group) {
        std::vector<std::string_view> views(words.begin(), words.end());
        Logged entry{db, {}, 0, group};
        append_command(entry.raw, views);
        offset_ += entry.raw.size();
        entry.end = offset_;
        log_.push_back(std::move(entry));
    }

    void delete_expired(int db, const std::string& name, uint64_t group) {
        const auto it = source_.data.find({db, name});
        if (it == source_.data.end() || it->second.expiry < 0 || it->second.expiry > now_) return;
        source_.data.erase(it);
        emit(db, {"DEL", name}, group);
    }

    void one_write(uint64_t group) {
        const int db = static_cast<int>(pick(2));
        const std::string a = key();
        const std::string b = key();
        const std::string c = key();
        const std::string soon =
            std::to_string(now_ + 1 + static_cast<int64_t>(pick(pick(2) == 0 ? 20 : 400)));
        std::vector<std::string> words;
        const auto exists = [&](const std::string& name) {
            return source_.find({db, name}, now_) != nullptr;
        };
        for (const auto& name : {a, b, c}) delete_expired(db, name, group);
        delete_expired(1 - db, b, group);
        switch (pick(12)) {
            case 0:
                words = {"SET", a, "s" + std::to_string(pick(100))};
                break;
            case 1:
                words = {"SET", a, "t" + std::to_string(pick(100)), "PXAT", soon};
                break;
            case 2:
                words = {"MSET", a, "m", b, "n"};
                break;
            case 3:
                if (exists(a)) words = {"DEL", a, b};
                break;
            case 4:
            case 5:
                words = {"APPEND", a, std::to_string(pick(10))};
                break;
            case 6:
            case 7:
                if (exists(a)) words = {"PEXPIREAT", a, soon};
                break;
            case 8:
                if (exists(a)) words = {"RENAME", a, b};
                break;
            case 9:
                if (exists(a) && a != b)
                    words = {"COPY", a, b, "REPLACE", "DB", std::to_string(pick(2))};
                break;
            case 10:
                words = {"SUNIONSTORE", a, b, c};
                break;
            default:
                if (exists(a) && a != b) words = {"SMOVE", a, b};
                break;
        }
        if (words.empty()) {
            if (exists(a))
                words = {"PERSIST", a};
            else
                return;
        }
        std::vector<std::string_view> views(words.begin(), words.end());
        source_.run(db, views, now_);
        emit(db, words, group);
    }

    void write() {
        if (pick(5) != 0) return one_write(0);
        // A group ends at the end of its EXEC; its commands have their own ends before.
        const std::size_t from = log_.size();
        for (uint64_t i = 0; i < 2 + pick(3); ++i) one_write(1);
        offset_ += 14;
        for (std::size_t i = from; i < log_.size(); ++i) log_[i].group = offset_;
        if (from == log_.size()) offset_ -= 14;
    }

    void expire_some() {
        if (pick(3) != 0 || source_.data.empty()) return;
        auto it = source_.data.begin();
        std::advance(it, static_cast<long>(pick(source_.data.size())));
        const Name name = it->first;
        delete_expired(name.first, name.second, 0);
    }

    CopyItem read(int db, const std::string& name) {
        CopyItem item;
        item.key = {db, name, key_hash(db, name)};
        item.at = offset_;
        item.commands = 1;
        const Value* value = source_.find_no_erase({db, name}, now_);
        if (value == nullptr) {
            append_command(item.bytes, {"DEL", name});
        } else {
            item.expires = value->expiry >= 0;
            append_command(
                item.bytes,
                {"RESTORE", name, std::to_string(item.expires ? value->expiry : 0), value->text});
        }
        return item;
    }

    struct Model : Server {
        const Value* find_no_erase(const Name& name, int64_t now) const {
            const auto it = data.find(name);
            return it == data.end() || (it->second.expiry >= 0 && it->second.expiry <= now)
                       ? nullptr
                       : &it->second;
        }
    };

    /// One chunk of the copy: names 0..13 of both databases in order, a few at a time, delivered
    /// late.
    void copy_chunk() {
        if (scan_ >= 28) return;
        Chunk chunk{applied_to_spool(), {}, scan_};
        for (uint64_t i = 0; i < 1 + pick(5) && scan_ < 28; ++i, ++scan_) {
            const std::string name = "k" + std::to_string(scan_ % 14);
            const int db = static_cast<int>(scan_ / 14);
            if (source_.find_no_erase({db, name}, now_) != nullptr)
                chunk.items.push_back(read(db, name));
        }
        chunk.scan_after = scan_;
        chunks_.push_back(std::move(chunk));
    }
    uint64_t applied_to_spool() const { return offset_; }

    PlannerOptions planner_options() {
        return {checks_, [this](const KeyRef& key) { return !aside_.contains(key.hash); }, {}};
    }

    /// One key that is set aside at a time is copied; when the lane has passed the copy's offset,
    /// it and what happened to the key since come into the next batch.
    void follow_aside(std::vector<CopyItem>& items, std::vector<StreamCommand>& ops) {
        if (!active_ && !aside_.empty() && pick(3) == 0) {
            const Key& key = aside_.begin()->second;
            BigKeyCopy copy(ValueKind::string, key.hash, "tmp", offset_,
                            {1, 1, 1, 1000, 1'000'000, 1});
            copy.round_written(offset_);
            active_.emplace(Active{std::move(copy), read(key.db, key.name)});
        }
        if (!active_) return;
        switch (active_->copy.next(applied_)) {
            case BigKeyCopy::Next::read_last:
                active_->item = read(active_->item.key.db, active_->item.key.name);
                active_->copy.settle(active_->item.at);
                break;
            case BigKeyCopy::Next::start_again:
                repairs_.emplace(active_->item.key.hash, active_->item.key);
                aside_.erase(active_->item.key.hash);
                active_.reset();
                break;
            case BigKeyCopy::Next::install:
                aside_.erase(active_->item.key.hash);
                ops = active_->copy.take_kept();
                items.push_back(active_->item);
                active_.reset();
                ++installed_;
                break;
            default:
                break;
        }
    }

    void batch() {
        std::vector<StreamCommand> ops;
        std::vector<CopyItem> items;
        follow_aside(items, ops);
        uint64_t end = applied_;
        const std::size_t most = 1 + pick(20);
        std::size_t at = next_;
        while (at < log_.size() && (ops.size() < most || (log_[at].group != 0 &&
                                                          log_[at].group == log_[at - 1].group))) {
            const Logged& entry = log_[at];
            StreamCommand command;
            command.db = entry.db;
            command.end = entry.end;
            command.group = entry.group;
            command.raw = entry.raw;
            REQUIRE(split_command(entry.raw, command.args).has_value());
            classify(command);
            ops.push_back(std::move(command));
            end = entry.group == 0 ? entry.end : entry.group;
            ++at;
        }
        std::size_t taken = 0;
        if (!chunks_.empty() && pick(2) == 0) {
            for (const auto& item : chunks_.front().items) {
                // As a chunk names a big key.
                if (pick(8) == 0 && watermarks_->find(item.key.hash) == nullptr &&
                    !repairs_.contains(item.key.hash))
                    aside_.emplace(item.key.hash, item.key);
                else
                    items.push_back(item);
            }
            taken = 1;
        }
        KeySet wanted = planner_->closure(ops, items, repairs_);
        if (!wanted.empty() && pick(5) == 0) {  // one of them turns out to be big
            const Key key = wanted.begin()->second;
            aside_.emplace(key.hash, key);
            watermarks_->erase(key.hash);
            repairs_.erase(key.hash);
            wanted = planner_->closure(ops, items, repairs_);
        }
        std::vector<CopyItem> copies;
        for (const auto& [hash, wanted_key] : wanted)
            copies.push_back(read(wanted_key.db, wanted_key.name));
        const Plan plan = planner_->plan(ops, items, copies);
        // Send: everything of the plan and the checkpoint of the batch before, in one transaction
        // at one time.
        now_ += static_cast<int64_t>(pick(3));
        std::vector<StepResult> results;
        for (const auto& step : plan.steps) {
            std::vector<std::string_view> words;
            int64_t value = 0;
            if (step.kind == Step::Kind::check) {
                value = target_.run(step.db, {"PEXPIRETIME", step.name}, now_);
            } else {
                const std::string_view raw =
                    step.kind == Step::Kind::item   ? std::string_view(items[step.index].bytes)
                    : step.kind == Step::Kind::copy ? std::string_view(copies[step.index].bytes)
                    : step.rewritten.empty()        ? step.raw
                                                    : std::string_view(step.rewritten);
                REQUIRE(split_command(raw, words).has_value());
                target_.run(step.db, words, now_);
            }
            results.push_back({false, {}, value});
        }
        checkpoint_ = applied_;
        checkpoint_next_ = next_;
        recorded_ = aside_;
        if (pick(25) == 0) return crash();  // the reply is lost
        repairs_ = planner_->commit(plan, ops, items, copies, results);
        for (const auto& op : ops) {
            const auto names = [&](const KeyRef& key) {
                return active_ && key.hash == active_->item.key.hash;
            };
            if (std::any_of(op.keys.begin(), op.keys.end(), names)) active_->copy.note(op);
        }
        applied_ = end;
        next_ = at;
        if (taken != 0) {
            acked_scan_ = chunks_.front().scan_after;
            chunks_.pop_front();
        }
        if (acked_scan_ == 28 && chunks_.empty() && watermarks_->doubt(0) == kNoOffset)
            watermarks_->set_doubt(offset_);
        const uint64_t floor = chunks_.empty() ? kNoOffset : chunks_.front().floor;
        if (!watermarks_->evict(applied_, floor) && chunks_.empty() && acked_scan_ == 28) {
            watermarks_->set_doubt(offset_);
            watermarks_->evict(applied_, floor);
        }
    }

    void crash() {
        watermarks_ = std::make_unique<Watermarks>(capacity_);
        planner_ = std::make_unique<Planner>(*watermarks_, planner_options());
        repairs_.clear();
        aside_ = recorded_;
        active_.reset();
        chunks_.clear();
        scan_ = acked_scan_;
        applied_ = checkpoint_;
        next_ = checkpoint_next_;
        if (acked_scan_ == 28) watermarks_->set_doubt(offset_);
    }

    bool drained() const {
        return next_ >= log_.size() && repairs_.empty() && aside_.empty() && chunks_.empty() &&
               acked_scan_ == 28 && watermarks_->exact_at(applied_);
    }

    struct Chunk {
        uint64_t floor;
        std::vector<CopyItem> items;
        uint64_t scan_after;
    };

    std::mt19937_64 random_;
    bool checks_;
    int installed_ = 0;
    std::size_t capacity_;
    int64_t now_ = 1'000'000;
    uint64_t offset_ = 0;
    Model source_;
    Server target_;
    std::vector<Logged> log_;
    std::size_t next_ = 0;
    std::size_t checkpoint_next_ = 0;
    uint64_t applied_ = 0;
    uint64_t checkpoint_ = 0;
    uint64_t scan_ = 0;
    uint64_t acked_scan_ = 0;
    std::deque<Chunk> chunks_;
    KeySet repairs_;
    struct Active {
        BigKeyCopy copy;
        CopyItem item;
    };
    KeySet aside_;
    KeySet recorded_;  ///< on the destination, beside the checkpoint
    std::optional<Active> active_;
    std::unique_ptr<Watermarks> watermarks_;
    std::unique_ptr<Planner> planner_;
};

int installed = 0;

int wrong_after(uint64_t seed, bool checks) {
    World world(seed, checks);
    world.run();
    installed += world.installed();
    return world.differences();
}

TEST_CASE("random streams, copies, expiries, crashes and evictions end equal") {
    uint64_t from = 1;
    uint64_t count = 5000;
    if (const char* seed = std::getenv("EXODUS_SEED")) {
        from = std::strtoull(seed, nullptr, 10);
        count = 1;
    }
    for (uint64_t seed = from; seed < from + count; ++seed) {
        INFO("EXODUS_SEED=" << seed);
        REQUIRE(wrong_after(seed, true) == 0);
    }
    CHECK((count == 1 || installed > 1000));  // keys that were set aside came back
}

TEST_CASE("without the presence check keys that were extended during lag are lost") {
    int wrong = 0;
    for (uint64_t seed = 1; seed < 300; ++seed) wrong += wrong_after(seed, false);
    CHECK(wrong > 0);
}

}  // namespace
}  // namespace exodus::redis
