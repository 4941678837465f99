#include "origin.h"

namespace exodus::redis::sim {

void Origin::emit(int db, const std::vector<std::string>& words, uint64_t group) {
    const std::vector<std::string_view> views(words.begin(), words.end());
    Logged entry{db, {}, 0, group};
    append_command(entry.raw, views);
    offset_ += entry.raw.size();
    entry.end = offset_;
    ends_with_global_ = false;
    log_.push_back(std::move(entry));
}

void Origin::delete_expired(int db, const std::string& name, uint64_t group) {
    const auto it = server_.data.find({db, name});
    if (it == server_.data.end() || it->second.expiry < 0 || it->second.expiry > now_) return;
    server_.data.erase(it);
    emit(db, {"DEL", name}, group);
}

void Origin::expire_some() {
    if (!dice_.one_in(3) || server_.data.empty()) return;
    auto it = server_.data.begin();
    std::advance(it, static_cast<long>(dice_.pick(server_.data.size())));
    const Name name = it->first;
    delete_expired(name.first, name.second, 0);
}

void Origin::write() {
    if (!dice_.one_in(5)) return write_one(0);
    const std::size_t from = log_.size();
    emit(0, {"MULTI"}, 1);
    for (uint64_t i = 0; i < 2 + dice_.pick(3); ++i) write_one(1);
    if (log_.size() == from + 1) {
        offset_ -= log_.back().raw.size();
        log_.pop_back();
        return;
    }
    emit(0, {"EXEC"}, 1);
    for (std::size_t i = from; i < log_.size(); ++i) log_[i].group = offset_;
}

void Origin::write_one(uint64_t group) {
    if (globals_every_ != 0 && dice_.one_in(globals_every_))
        write_databases(group);
    else
        write_keys(group);
}

void Origin::write_databases(uint64_t group) {
    const int db = dice_.database(kDatabases);
    std::vector<std::string> words;
    switch (dice_.pick(6)) {
        case 0:
            words = {"FLUSHALL"};
            break;
        case 1:
        case 2:
            words = {"FLUSHDB"};
            break;
        default:  // a database with itself, too: servers do that, and tell their replicas
            words = {"SWAPDB", std::to_string(db), std::to_string(dice_.database(kDatabases))};
            break;
    }
    const std::vector<std::string_view> views(words.begin(), words.end());
    server_.run(db, views, now_);
    emit(db, words, group);
    ends_with_global_ = true;
}

void Origin::write_keys(uint64_t group) {
    const auto name = [this] { return key_of(0, dice_.database(kNames)).name; };
    const int db = dice_.database(kDatabases);
    const std::string a = name();
    const std::string b = name();
    const std::string c = name();
    const uint64_t ahead = dice_.pick(dice_.one_in(2) ? 20 : 400);
    const std::string soon = std::to_string(now_ + 1 + static_cast<int64_t>(ahead));
    std::vector<std::string> words;
    const auto exists = [&](const std::string& key) {
        return server_.find({db, key}, now_) != nullptr;
    };
    for (const auto& key : {a, b, c}) delete_expired(db, key, group);
    for (int other = 0; other < kDatabases; ++other) delete_expired(other, b, group);
    switch (dice_.pick(12)) {
        case 0:
            words = {"SET", a, "s" + std::to_string(dice_.pick(100))};
            break;
        case 1:
            words = {"SET", a, "t" + std::to_string(dice_.pick(100)), "PXAT", soon};
            break;
        case 2:
            words = {"MSET", a, "m", b, "n"};
            break;
        case 3:
            if (exists(a)) words = {"DEL", a, b};
            break;
        case 4:
        case 5:
            words = {"APPEND", a, std::to_string(dice_.pick(10))};
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
                words = {"COPY", a, b, "REPLACE", "DB", std::to_string(dice_.pick(kDatabases))};
            break;
        case 10:
            words = {"SUNIONSTORE", a, b, c};
            break;
        default:
            if (exists(a) && a != b) words = {"SMOVE", a, b};
            break;
    }
    if (words.empty()) {
        if (!exists(a)) return;
        words = {"PERSIST", a};
    }
    const std::vector<std::string_view> views(words.begin(), words.end());
    server_.run(db, views, now_);
    emit(db, words, group);
}

}  // namespace exodus::redis::sim
