#include "world.h"

#include <algorithm>
#include <array>
#include <doctest/doctest.h>

namespace exodus::redis::sim {

namespace {

/// In a scoped world, names from this one on are the destination's own.
constexpr int kOwnFrom = kNames - 2;
static_assert(kNames <= 10, "names are in order while their numbers have one digit");

/// Worlds without global commands are a third: an emptied database hides what was wrong in it.
uint64_t globals_every(uint64_t seed) {
    return std::array<uint64_t, 6>{0, 0, 100, 50, 30, 15}[seed % 6];
}

}  // namespace

void Counts::add(const Counts& other) {
    installed += other.installed;
    flushed += other.flushed;
    swapped += other.swapped;
    filled_again += other.filled_again;
    repaired += other.repaired;
    exact += other.exact;
}

World::World(uint64_t seed, bool checks)
    : dice_(seed),
      checks_(checks),
      scoped_(seed % 5 == 0),
      capacity_(8 + seed % 40),
      origin_(dice_, now_, globals_every(seed)) {
    for (int db = 0; scoped_ && db < kDatabases; ++db) {
        for (int i = kOwnFrom; i < kNames; ++i) target_.data[{db, key_of(db, i).name}] = {"own"};
    }
    start_process();
}

bool World::in_scope(std::string_view name) const {
    return !scoped_ || name < key_of(0, kOwnFrom).name;
}

int World::run() {
    for (int i = 0; i < 60; ++i) origin_.write();
    checkpoint_ = applied_ = told_ = origin_.offset();
    next_ = checkpoint_next_ = origin_.log().size();
    live(120 + static_cast<int>(dice_.pick(80)));
    drain();
    live(40);  // everything is copied
    drain();
    return wrong_;
}

void World::live(int steps) {
    const bool stalls = dice_.one_in(2);
    const uint64_t copies_every = dice_.one_in(2) ? 2 : 6;
    for (int i = 0; i < steps && wrong_ == 0; ++i) {
        now_ += static_cast<int64_t>(dice_.pick(8));
        // Often the stream rests there: what is read or begins just then stands at that very end.
        if (!origin_.ends_with_global() || dice_.one_in(8)) {
            if (!dice_.one_in(3)) origin_.write();
            origin_.expire_some();
        }
        if (dice_.one_in(copies_every)) call_copier();
        if (stalls && dice_.one_in(12)) now_ += 200;
        if (dice_.one_in(stalls ? 8 : 3)) step();
        if (dice_.one_in(60)) crash();
    }
}

void World::drain() {
    const auto drained = [this] { return next_ == origin_.log().size() && exact(); };
    for (int i = 0; i < 4000 && wrong_ == 0 && !drained(); ++i) {
        calm_ = i > 100;  // it must not need a crash to come to its end
        call_copier();
        step();
        now_ += static_cast<int64_t>(dice_.pick(4));
        origin_.expire_some();
    }
    calm_ = false;
    if (wrong_ != 0) return;
    REQUIRE(drained());
    wrong_ = differences();
}

void World::call_copier() {
    for (uint64_t i = 0; i < 1 + dice_.pick(4); ++i) copier_->step(told_);
}

/// As the lane tells it to who wants to read from the destination.
bool World::exact() const {
    return !fill_open_ && repairs_.empty() && aside_.empty() && watermarks_->exact_at(applied_);
}

int World::differences() const {
    int count = 0;
    for (int db = 0; db < kDatabases; ++db) {
        for (int i = 0; i < kNames; ++i) {
            const Name name{db, key_of(db, i).name};
            const Value own{"own"};
            const Value* a = in_scope(name.second) ? origin_.server().find(name, now_) : &own;
            const Value* b = target_.find(name, now_);
            if ((a == nullptr) != (b == nullptr) || (a != nullptr && !(*a == *b))) ++count;
        }
    }
    return count;
}

PlannerOptions World::planner_options() {
    const auto in = [this](const KeyRef& key) {
        return !aside_.contains(key.hash) && in_scope(key.name);
    };
    return {checks_, in, {}};
}

// --- the lane

void World::start_process() {
    queue_ = std::make_unique<CopyQueue>();
    queue_->restart(*ScanPlace::parse(journal_));
    copier_ = std::make_unique<Copier>(dice_, now_, origin_, target_, *queue_,
                                       [this](std::string_view name) { return in_scope(name); });
    watermarks_ = std::make_unique<Watermarks>(capacity_);
    planner_ = std::make_unique<Planner>(*watermarks_, planner_options());
    told_ = 0;
    open();
}

/// The process dies, or it loses its connections: what a lane knew is lost in both cases.
void World::crash() {
    if (dice_.one_in(2)) return start_process();
    queue_->drop_all();
    watermarks_->clear();
    open();
}

void World::open() {
    repairs_.clear();
    aside_ = recorded_;
    active_.reset();
    applied_ = checkpoint_;
    next_ = checkpoint_next_;
    fill_open_ = queue_->place().phase != ScanPlace::Phase::done;
    if (!fill_open_) watermarks_->set_doubt(origin_.offset());
}

void World::step() {
    CopyQueue::Batch due;
    if (dice_.one_in(2)) due = queue_->take(1 + dice_.pick(8), 1 << 20);
    std::erase_if(due.items, [this](const CopyItem& item) {  // as a chunk names a big key
        if (!dice_.one_in(8) || watermarks_->find(item.key.hash) != nullptr ||
            repairs_.contains(item.key.hash))
            return false;
        aside_.emplace(item.key.hash, item.key);
        return true;
    });
    std::vector<StreamCommand> ops;
    follow_aside(due.items, ops);
    const bool nothing = ops.empty() && due.items.empty() && due.chunks == 0 && repairs_.empty();
    const std::size_t next = read_stream(ops);
    if (nothing && next == next_ && next < origin_.log().size()) return run_global();
    if (!run_batch(ops, due.items)) return;
    if (next != next_) applied_ = origin_.log()[next - 1].end;
    next_ = next;
    queue_->finish();
    finish_fill();
    make_room();
    publish();
}

StreamCommand World::parse(const Logged& entry) {
    StreamCommand command;
    command.db = entry.db;
    command.end = entry.end;
    command.group = entry.group;
    command.raw = entry.raw;
    REQUIRE(split_command(entry.raw, command.args).has_value());
    classify(command);
    return command;
}

/// Appends whole groups, up to the first global command; returns where the log was left.
std::size_t World::read_stream(std::vector<StreamCommand>& ops) {
    const auto& log = origin_.log();
    const std::size_t most = 1 + dice_.pick(20);
    std::size_t at = next_;
    for (; at < log.size(); ++at) {
        const bool inside = at > next_ && log[at].group != 0 && log[at].group == log[at - 1].group;
        if (ops.size() >= most && !inside) break;
        StreamCommand command = parse(log[at]);
        if (command.role == StreamRole::global) break;
        if (command.role != StreamRole::ignored) ops.push_back(std::move(command));
    }
    return at;
}

/// One key that is set aside at a time is copied; when the lane has passed the copy's offset, it
/// and what happened to the key since come into the next batch.
void World::follow_aside(std::vector<CopyItem>& items, std::vector<StreamCommand>& ops) {
    if (!active_ && !aside_.empty() && dice_.one_in(3)) {
        const Key& key = aside_.begin()->second;
        const uint64_t mark = origin_.offset();
        BigKeyCopy copy(ValueKind::string, key.hash, "tmp", mark, {1, 1, 1, 1000, 1'000'000, 1});
        copy.round_written(mark);
        active_.emplace(Active{std::move(copy), origin_.read(key)});
    }
    if (!active_) return;
    const Key key = active_->item.key;
    switch (active_->copy.next(applied_)) {
        case BigKeyCopy::Next::read_last:
            active_->item = origin_.read(key);
            active_->copy.settle(active_->item.at);
            break;
        case BigKeyCopy::Next::start_again:
            repairs_.emplace(key.hash, key);
            aside_.erase(key.hash);
            active_.reset();
            break;
        case BigKeyCopy::Next::install:
            aside_.erase(key.hash);
            ops = active_->copy.take_kept();
            items.insert(items.begin(), active_->item);
            active_.reset();
            ++counts_.installed;
            break;
        default:
            break;
    }
}

/// False: the answer did not come.
bool World::run_batch(const std::vector<StreamCommand>& ops, const std::vector<CopyItem>& items) {
    KeySet wanted = planner_->closure(ops, items, repairs_);
    if (!wanted.empty() && dice_.one_in(5)) {  // one of them turns out to be big
        const Key key = wanted.begin()->second;
        aside_.emplace(key.hash, key);
        watermarks_->erase(key.hash);
        repairs_.erase(key.hash);
        wanted = planner_->closure(ops, items, repairs_);
    }
    std::vector<CopyItem> copies;
    for (const auto& [hash, key] : wanted) copies.push_back(origin_.read(key));
    const Plan plan = planner_->plan(ops, items, copies);
    const auto results = execute(plan, items, copies);
    // With the checkpoint of the batch before, in one transaction.
    checkpoint(applied_, next_);
    if (!calm_ && dice_.one_in(25)) {
        crash();
        return false;
    }
    repairs_ = planner_->commit(plan, ops, items, copies, results);
    for (const auto& op : ops) {
        const auto names = [&](const KeyRef& key) {
            return active_ && key.hash == active_->item.key.hash;
        };
        if (std::any_of(op.keys.begin(), op.keys.end(), names)) active_->copy.note(op);
    }
    return true;
}

/// One transaction: at one time.
std::vector<StepResult> World::execute(const Plan& plan, const std::vector<CopyItem>& items,
                                       const std::vector<CopyItem>& copies) {
    now_ += static_cast<int64_t>(dice_.pick(3));
    std::vector<StepResult> results;
    std::vector<std::string_view> words;
    for (const auto& step : plan.steps) {
        if (step.kind == Step::Kind::check) {
            results.push_back({false, {}, target_.run(step.db, {"PEXPIRETIME", step.name}, now_)});
            continue;
        }
        const std::string_view raw =
            step.kind == Step::Kind::item   ? std::string_view(items[step.index].bytes)
            : step.kind == Step::Kind::copy ? std::string_view(copies[step.index].bytes)
            : step.rewritten.empty()        ? step.raw
                                            : std::string_view(step.rewritten);
        REQUIRE(split_command(raw, words).has_value());
        target_.run(step.db, words, now_);
        results.emplace_back();
    }
    return results;
}

void World::checkpoint(uint64_t place, std::size_t next) {
    checkpoint_ = place;
    checkpoint_next_ = next;
    recorded_ = aside_;
}

void World::finish_fill() {
    if (!fill_open_) return;
    const ScanPlace place = queue_->place();
    if (place.phase == ScanPlace::Phase::done && queue_->idle()) {
        watermarks_->set_doubt(origin_.offset());
        fill_open_ = false;
    } else if (!dice_.one_in(3)) {
        return;
    }
    journal_ = place.text();
}

void World::make_room() {
    if (watermarks_->evict(applied_, queue_->floor()) || fill_open_) return;
    watermarks_->set_doubt(origin_.offset());
    watermarks_->evict(applied_, queue_->floor());
}

void World::publish() {
    told_ = applied_;
    if (!exact() || next_ != origin_.log().size()) return;
    ++counts_.exact;
    wrong_ = differences();
}

}  // namespace exodus::redis::sim
