#include "families/redis/repair_reader.h"

#include <algorithm>

#include "base/limits.h"

namespace exodus::redis {

std::string ComparedKey::detail() const {
    return "origin: " + describe(origin) + "; destination: " + describe(destination);
}

Result<std::optional<std::vector<ComparedKey>>> RepairReader::compare(int db, Names names) {
    std::vector<ComparedKey> out(names.size());
    auto here = origin_.sizes(db, names);
    if (!here) return tl::unexpected<Error>(std::move(here).error());
    auto there = destination_.sizes(db, names);
    if (!there) return tl::unexpected<Error>(std::move(there).error());
    std::vector<Part> parts;
    uint64_t bytes = 0;
    for (std::size_t i = 0; i < names.size(); ++i) {
        const uint64_t size = std::max((*here)[i], (*there)[i]);
        if (size > limits::kCanonicalBigKey_bytes) {
            auto going = compare_big(db, names[i], out[i]);
            if (!going) return tl::unexpected<Error>(std::move(going).error());
            if (!*going) return std::optional<std::vector<ComparedKey>>{};
            continue;
        }
        if (parts.empty() || parts.back().names.size() >= limits::kVerifyBatch_keys ||
            bytes + size > limits::kVerifyBatch_bytes) {
            parts.emplace_back();
            bytes = 0;
        }
        parts.back().indexes.push_back(i);
        parts.back().names.push_back(names[i]);
        bytes += size;
    }
    auto going = compare_payloads(db, parts, out);
    if (going && *going) going = compare_values(db, parts, out);
    if (!going) return tl::unexpected<Error>(std::move(going).error());
    if (!*going) return std::optional<std::vector<ComparedKey>>{};
    return std::optional(std::move(out));
}

void RepairReader::decide(const Part& part, const Snapshot& destination,
                          std::vector<ComparedKey>& out) const {
    const int64_t now = std::max(part.origin.time_ms, destination.time_ms);
    for (std::size_t i = 0; i < part.indexes.size(); ++i) {
        ComparedKey& key = out[part.indexes[i]];
        key.origin = part.origin.states[i];
        key.destination = destination.states[i];
        key.at = static_cast<uint64_t>(part.origin.position.offset);
        key.difference = compare_states(key.origin, key.destination, now);
    }
}

Result<bool> RepairReader::compare_payloads(int db, std::vector<Part>& parts,
                                            std::vector<ComparedKey>& out) {
    for (auto& part : parts) {
        EXODUS_TRY(origin_.request_payloads(db, part.names));
        auto left = origin_.take_payloads(part.names.size());
        if (!left) return tl::unexpected<Error>(std::move(left).error());
        part.origin = std::move(*left);
    }
    if (parts.empty()) return true;
    // Offsets grow from part to part: the last one covers all.
    auto going = wait_(parts.back().origin.position);
    if (!going || !*going) return going;
    for (const auto& part : parts) {
        EXODUS_TRY(destination_.request_payloads(db, part.names));
        auto right = destination_.take_payloads(part.names.size());
        if (!right) return tl::unexpected<Error>(std::move(right).error());
        decide(part, *right, out);
    }
    return true;
}

/// Payloads differ between versions and hash seeds also for equal values.
Result<bool> RepairReader::compare_values(int db, std::vector<Part>& parts,
                                          std::vector<ComparedKey>& out) {
    std::vector<Part> open;
    std::vector<std::vector<std::string>> types;
    for (const auto& part : parts) {
        Part rest;
        std::vector<std::string> words;
        for (std::size_t i = 0; i < part.indexes.size(); ++i) {
            const ComparedKey& key = out[part.indexes[i]];
            if (key.difference != Difference::undecided || !key.origin.readable) continue;
            rest.indexes.push_back(part.indexes[i]);
            rest.names.push_back(part.names[i]);
            words.push_back(key.origin.type);
        }
        if (rest.names.empty()) continue;
        open.push_back(std::move(rest));
        types.push_back(std::move(words));
    }
    if (open.empty()) return true;
    for (std::size_t p = 0; p < open.size(); ++p) {
        auto left = origin_.read_typed(db, open[p].names, types[p]);
        if (!left) return tl::unexpected<Error>(std::move(left).error());
        open[p].origin = std::move(*left);
    }
    auto going = wait_(open.back().origin.position);
    if (!going || !*going) return going;
    for (std::size_t p = 0; p < open.size(); ++p) {
        auto right = destination_.read_typed(db, open[p].names, types[p]);
        if (!right) return tl::unexpected<Error>(std::move(right).error());
        decide(open[p], *right, out);
    }
    return true;
}

Result<bool> RepairReader::compare_big(int db, std::string_view name, ComparedKey& out) {
    auto left = origin_.read_big(db, name);
    if (!left) return tl::unexpected<Error>(std::move(left).error());
    if (!left->states[0].readable) return true;  // it never stands still: copied, not compared
    auto going = wait_(left->position);
    if (!going || !*going) return going;
    auto right = destination_.read_big(db, name);
    if (!right) return tl::unexpected<Error>(std::move(right).error());
    Part part;
    part.indexes = {0};
    part.origin = std::move(*left);
    std::vector<ComparedKey> one(1);
    decide(part, *right, one);
    out = std::move(one[0]);
    return true;
}

}  // namespace exodus::redis
