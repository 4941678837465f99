#include "server.h"

#include <doctest/doctest.h>

namespace exodus::redis::sim {

Key key_of(int db, int number) {
    std::string name = "k" + std::to_string(number);
    const Digest128 hash = key_hash(db, name);
    return {db, std::move(name), hash};
}

const Value* Server::find(const Name& name, int64_t now) const {
    const auto it = data.find(name);
    if (it == data.end() || (it->second.expiry >= 0 && it->second.expiry <= now)) return nullptr;
    return &it->second;
}

Value* Server::alive(const Name& name, int64_t now) { return const_cast<Value*>(find(name, now)); }

CopyItem Server::read(const Key& key, uint64_t at, int64_t now) const {
    CopyItem item;
    item.key = key;
    item.at = at;
    item.commands = 1;
    const Value* value = find({key.db, key.name}, now);
    if (value == nullptr) {
        item.absent = true;
        append_command(item.bytes, {"DEL", key.name});
    } else {
        item.expires = value->expiry >= 0;
        append_command(item.bytes, {"RESTORE", key.name,
                                    std::to_string(item.expires ? value->expiry : 0), value->text});
    }
    return item;
}

int64_t Server::run(int db, const std::vector<std::string_view>& args, int64_t now) {
    const std::string verb(args[0]);
    if (verb == "PEXPIRETIME") {
        const Value* value = find({db, std::string(args[1])}, now);
        return value == nullptr ? -2 : value->expiry;
    }
    if (!write_key(verb, db, args, now) && !write_keys(verb, db, args, now) &&
        !write_databases(verb, db, args))
        FAIL("model does not know " << verb);
    return 0;
}

bool Server::write_key(const std::string& verb, int db, const std::vector<std::string_view>& args,
                       int64_t now) {
    const Name name{db, args.size() > 1 ? std::string(args[1]) : std::string()};
    if (verb == "SET") {
        data[name] = {std::string(args[2]), args.size() > 4 ? *to_number(args[4]) : -1};
    } else if (verb == "RESTORE") {
        const int64_t expiry = *to_number(args[2]);
        data.erase(name);
        if (expiry == 0 || expiry > now)
            data[name] = {std::string(args[3]), expiry == 0 ? -1 : expiry};
    } else if (verb == "APPEND") {
        if (Value* value = alive(name, now))
            value->text += args[2];
        else
            data[name] = {std::string(args[2]), -1};
    } else if (verb == "PEXPIREAT") {
        if (Value* value = alive(name, now)) value->expiry = *to_number(args[2]);
    } else if (verb == "PERSIST") {
        if (Value* value = alive(name, now)) value->expiry = -1;
    } else {
        return false;
    }
    return true;
}

bool Server::write_keys(const std::string& verb, int db, const std::vector<std::string_view>& args,
                        int64_t now) {
    const auto name = [&](std::size_t i) { return Name{db, std::string(args[i])}; };
    if (verb == "MSET") {
        for (std::size_t i = 1; i + 1 < args.size(); i += 2)
            data[name(i)] = {std::string(args[i + 1]), -1};
    } else if (verb == "DEL") {
        for (std::size_t i = 1; i < args.size(); ++i) data.erase(name(i));
    } else if (verb == "RENAME") {
        if (const Value* value = find(name(1), now)) {
            const Value moved = *value;
            data.erase(name(1));
            data[name(2)] = moved;
        }
    } else if (verb == "COPY") {
        const int to = static_cast<int>(*to_number(args[5]));
        if (const Value* value = find(name(1), now))
            data[{to, std::string(args[2])}] = Value(*value);
    } else if (verb == "SUNIONSTORE") {  // destination := concatenation of the others
        std::string all;
        for (std::size_t i = 2; i < args.size(); ++i) {
            if (const Value* value = find(name(i), now)) all += value->text;
        }
        if (all.empty())
            data.erase(name(1));
        else
            data[name(1)] = {all.substr(0, 400), -1};
    } else if (verb == "SMOVE") {  // the last character of one goes to the other
        if (Value* value = alive(name(1), now)) {
            const char c = value->text.back();
            value->text.pop_back();
            if (value->text.empty()) data.erase(name(1));
            if (Value* to = alive(name(2), now))
                to->text += c;
            else
                data[name(2)] = {std::string(1, c), -1};
        }
    } else {
        return false;
    }
    return true;
}

bool Server::write_databases(const std::string& verb, int db,
                             const std::vector<std::string_view>& args) {
    if (verb == "FLUSHDB") {
        std::erase_if(data, [&](const auto& entry) { return entry.first.first == db; });
    } else if (verb == "FLUSHALL") {
        data.clear();
    } else if (verb == "SWAPDB") {
        const int a = static_cast<int>(*to_number(args[1]));
        const int b = static_cast<int>(*to_number(args[2]));
        std::map<Name, Value> swapped;
        for (auto& [name, value] : data) {
            const int to = name.first == a ? b : name.first == b ? a : name.first;
            swapped[{to, name.second}] = std::move(value);
        }
        data = std::move(swapped);
    } else {
        return false;
    }
    return true;
}

}  // namespace exodus::redis::sim
