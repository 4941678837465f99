#include "families/redis/functions.h"

#include <sstream>

#include "base/digest.h"

namespace exodus::redis {

Libraries libraries_of(ReplyView list) {
    Libraries out;
    for (std::size_t i = 0; i < list.size(); ++i) {
        Library library;
        library.code = list[i].field("library_code").text();
        const ReplyView functions = list[i].field("functions");
        for (std::size_t f = 0; f < functions.size(); ++f)
            library.functions.emplace(functions[f].field("name").text());
        out[std::string(list[i].field("library_name").text())] = std::move(library);
    }
    return out;
}

Result<Libraries> read_libraries(Client& client) {
    auto reply = client.command({"FUNCTION", "LIST", "WITHCODE"});
    if (!reply) return tl::unexpected<Error>(std::move(reply).error());
    if (error_word(*reply) == "ERR") return Libraries();
    if (reply->is_error()) return tl::unexpected<Error>(error_of(*reply, "FUNCTION LIST"));
    return libraries_of(*reply);
}

Result<LibraryNames> load_library_names(Journal& journal, const std::string& scope,
                                        const std::string& record) {
    auto text = journal.load_position(scope, record);
    if (!text) return tl::unexpected<Error>(std::move(text).error());
    LibraryNames names;
    std::istringstream in(text->value_or(""));
    for (std::string name; in >> name;) names.insert(name);
    return names;
}

Status save_library_names(Journal& journal, const std::string& scope, const std::string& record,
                          const LibraryNames& names) {
    std::string text;  // a name has letters, digits and _ only (function_lua.c, 7.0)
    for (const auto& name : names) text += (text.empty() ? "" : " ") + name;
    return journal.save_position(scope, record, text);
}

Result<LibraryNames> kept_libraries(Journal& journal) {
    return load_library_names(journal, "forward-past", "functions-kept");
}

bool authority_wins(const Settings& settings) {
    const auto extra = settings.family_options.find("extra");
    const bool removes = extra != settings.family_options.end() && extra->second == "delete";
    return settings.migrate.data_movement == DataMovement::repair ||
           (settings.migrate.conflict == ConflictPolicy::overwrite && removes);
}

LibraryChanges library_changes(const Libraries& here, const Libraries& there,
                               const LibraryNames& kept, const LibraryNames& gone) {
    LibraryChanges out;
    for (const auto& [name, library] : here) {
        if (kept.contains(name)) continue;
        const auto found = there.find(name);
        if (found != there.end() && found->second.code == library.code) continue;
        if (found != there.end()) out.removed.push_back(name);
        out.loaded.push_back(name);
    }
    for (const auto& [name, library] : there) {
        if (gone.contains(name) && !here.contains(name) && !kept.contains(name))
            out.removed.push_back(name);
    }
    return out;
}

Result<LibraryRules> library_rules(const FamilyContext& context, Direction direction) {
    LibraryRules rules;
    rules.direction = direction;
    rules.authority_wins = authority_wins(context.settings);
    auto kept = kept_libraries(context.journal);
    if (!kept) return tl::unexpected<Error>(std::move(kept).error());
    rules.kept = std::move(*kept);
    for (const char* scope : {"forward-past", "reverse-past"}) {
        auto names = load_library_names(context.journal, scope, "functions");
        if (!names) return tl::unexpected<Error>(std::move(names).error());
        rules.shared.insert(names->begin(), names->end());
    }
    return rules;
}

LibraryComparison compare_libraries(const Libraries& authority, const Libraries& other,
                                    const LibraryRules& rules) {
    LibraryComparison out;
    LibraryNames names;
    for (const Libraries* side : {&authority, &other})
        for (const auto& [name, library] : *side) names.insert(name);
    const auto print_of = [](const Libraries& side, const auto& found) {
        return found == side.end() ? "none" : sha256_hex(found->second.code).substr(0, 16);
    };
    for (const auto& name : names) {
        const auto left = authority.find(name);
        const auto right = other.find(name);
        const bool missing = right == other.end();
        const bool extra = left == authority.end();
        if (!missing && !extra && left->second.code == right->second.code) continue;
        const bool only_target = rules.direction == Direction::forward ? extra : missing;
        const bool targets_own =
            only_target && !rules.shared.contains(name) && !rules.authority_wins;
        if (targets_own || rules.kept.contains(name)) {
            ++out.kept;
            continue;
        }
        out.differences.push_back({"functions", name,
                                   missing ? "missing"
                                   : extra ? "extra"
                                           : "code",
                                   "function library; authority: " + print_of(authority, left) +
                                       "; other: " + print_of(other, right)});
    }
    return out;
}

LibraryVerdict judge_libraries(const Libraries& source, const Libraries& target,
                               ConflictPolicy policy) {
    LibraryVerdict out;
    const auto add = [&](const std::string& name, std::string action, std::string reason) {
        if (action == "conflict") ++out.conflicts;
        ItemChange change;
        change.direction = "forward";
        change.location = "functions";
        change.key = name;
        change.side = "target";
        change.action = std::move(action);
        change.reason = std::move(reason);
        if (const auto found = source.find(name); found != source.end())
            change.detail = "source " + sha256_hex(found->second.code).substr(0, 16) + ", ";
        change.detail += "target " + sha256_hex(target.at(name).code).substr(0, 16);
        out.changes.push_back(std::move(change));
    };
    for (const auto& [name, library] : target) {
        const auto same = source.find(name);
        std::string clash;
        for (const auto& [other, theirs] : source) {
            if (other == name || !clash.empty()) continue;
            // One that the copy replaces no longer registers what it did.
            if (same != source.end() && policy == ConflictPolicy::overwrite) continue;
            for (const auto& function : library.functions) {
                if (theirs.functions.contains(function))
                    clash = "registers " + function + ", as library " + other + " of the source";
            }
        }
        if (!clash.empty()) {
            add(name, "conflict", clash);
        } else if (same != source.end() && same->second.code != library.code) {
            const bool undecided =
                policy == ConflictPolicy::fail || policy == ConflictPolicy::newer;
            if (policy == ConflictPolicy::skip) out.kept.insert(name);
            add(name,
                undecided                        ? "conflict"
                : policy == ConflictPolicy::skip ? "kept"
                                                 : "overwritten",
                "function library on both sides, different");
        }
    }
    return out;
}

}  // namespace exodus::redis
