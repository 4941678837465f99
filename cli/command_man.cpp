// exodus man [PAGE]: the manual that belongs to this very binary. Uses man(1) on a terminal when it
// is there.
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/values.h"
#include "cli/cli.h"
#include "cli/manual.h"
#include "workflow/exit_codes.h"

namespace exodus::cli {

namespace {

/// "migrate", "exodus-migrate", "exodus.toml(5)" all find their page.
const ManualPage* find_page(std::string name) {
    if (const auto bracket = name.find('('); bracket != std::string::npos) name.resize(bracket);
    for (const ManualPage& page : manual_pages()) {
        if (page.name == name || page.name == "exodus-" + name) return &page;
    }
    return nullptr;
}

/// True when man(1) showed the page.
bool show_with_man(const ManualPage& page) {
    if (::isatty(STDOUT_FILENO) != 1) return false;
    if (std::system("command -v man >/dev/null 2>&1") != 0) return false;
    FILE* pipe = ::popen("man -l -", "w");
    if (pipe == nullptr) return false;
    std::fwrite(page.source.data(), 1, page.source.size(), pipe);
    return ::pclose(pipe) == 0;
}

int man(Cli& cli, const std::vector<std::string>& words, bool list, bool roff) {
    if (list) {
        auto names = nlohmann::json::array();
        for (const ManualPage& page : manual_pages()) {
            names.push_back(fmt::format("{}({})", page.name, page.section));
            cli.out.line(fmt::format("{}({})", page.name, page.section));
        }
        return cli.out.result("man", kDone, {{"pages", names}});
    }
    const std::string name = words.empty() ? "exodus" : fmt::format("{}", fmt::join(words, "-"));
    const ManualPage* page = find_page(name);
    // "config check" is part of the page of config.
    if (page == nullptr && words.size() > 1) page = find_page(words.front());
    if (page == nullptr) {
        std::vector<std::string> known;
        for (const ManualPage& one : manual_pages()) {
            known.emplace_back(one.name);
            if (one.name.starts_with("exodus-")) known.emplace_back(one.name.substr(7));
        }
        const auto meant = nearest(name, known);
        return cli.out.error(
            "man", Error{ErrorCode::usage, fmt::format("there is no page '{}'", printable(name)),
                         meant ? fmt::format("did you mean {}? exodus man --list shows all", *meant)
                               : "exodus man --list shows all"});
    }
    const std::string text = roff ? std::string(page->source) : manual_text(page->source);
    if (!cli.out.json() && (roff || !show_with_man(*page))) fmt::print("{}", text);
    return cli.out.result("man", kDone,
                          {{"page", page->name}, {"section", page->section}, {"text", text}});
}

}  // namespace

void add_man(Cli& cli) {
    struct Flags {
        std::vector<std::string> words;
        bool list = false;
        bool roff = false;
    };
    auto flags = std::make_shared<Flags>();
    CLI::App* sub = cli.add("man", "show a page of the manual", [&cli, flags] {
        return man(cli, flags->words, flags->list, flags->roff);
    });
    sub->add_option("page", flags->words, "a command, exodus.toml or exodus-workflow")
        ->type_name("PAGE");
    sub->add_flag("--list", flags->list, "list all pages");
    sub->add_flag("--roff", flags->roff, "the page's source, for man -l or groff");
}

}  // namespace exodus::cli
