// exodus report: the migration as one file, for the owner who signs it and for who reads it later.
// Reads the state file only.
#include <cstdio>
#include <fmt/format.h>

#include "base/limits.h"
#include "cli/cli.h"
#include "cli/report_document.h"
#include "cli/whole_file.h"
#include "cli/workspace.h"
#include "workflow/exit_codes.h"
#include "workflow/report.h"

namespace exodus::cli {

namespace {

struct ReportFlags {
    std::string file;
    std::string format;
};

/// A report is of the file; an interlay that hangs must not keep it from being written.
struct NoInterlay final : InterlayAccess {
    Result<ControlPort*> connect() override {
        return fail(ErrorCode::unreachable, "a report asks no interlay");
    }
    Result<ControlPort*> ensure(const std::stop_token&) override { return connect(); }
    std::unique_ptr<ControlPort> open(const std::string&) override { return nullptr; }
};

/// By --format, else by the end of the file's name, else Markdown.
Result<std::string> format_of(const ReportFlags& flags) {
    if (!flags.format.empty()) return flags.format;
    if (flags.file.empty()) return std::string("markdown");
    for (const auto& [end, format] : {std::pair{".html", "html"},
                                      {".htm", "html"},
                                      {".md", "markdown"},
                                      {".markdown", "markdown"},
                                      {".json", "json"}}) {
        if (flags.file.ends_with(end)) return std::string(format);
    }
    return fail(ErrorCode::usage, flags.file + " does not say what to write",
                "name it .html, .md or .json, or give --format");
}

std::string as_text(const nlohmann::json& report, const std::string& format) {
    if (format == "json")
        return report.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    const ReportDocument document = make_document(report);
    return format == "html" ? to_html(document) : to_markdown(document);
}

int report(Cli& cli, const ReportFlags& flags) {
    const auto format = format_of(flags);
    if (!format) return cli.out.error("report", format.error());
    int exit_code = kDone;
    auto space = Workspace::open(cli, kReading, exit_code);
    if (!space) return exit_code;
    ProgressPrinter printer(cli.out);
    NoInterlay nobody;
    PhaseContext context = space->phase_context(cli, printer, std::stop_token{}, &nobody);
    auto collected = collect_report(context);
    if (!collected) return cli.out.error("report", collected.error());
    nlohmann::json& object = *collected;
    std::vector<ConfigValue> values;
    static_cast<void>(
        load(cli, {.require_endpoints = false, .read_secrets = false, .values = &values}));
    object["configuration"] = report_configuration(values);
    if (flags.file.empty() && cli.globals.json)
        return cli.out.result("report", kDone, {{"report", object}});
    const std::string text = as_text(object, *format);
    if (flags.file.empty()) {
        std::fwrite(text.data(), 1, text.size(), stdout);
        return kDone;
    }
    if (auto status = write_whole(flags.file, text); !status)
        return cli.out.error("report", status.error());
    cli.out.line(fmt::format("{} written: {}", flags.file, *format));
    return cli.out.result("report", kDone, {{"file", flags.file}, {"format", *format}});
}

}  // namespace

void add_report(Cli& cli) {
    auto flags = std::make_shared<ReportFlags>();
    CLI::App* sub = cli.add("report", "the migration as one file: HTML, Markdown or JSON",
                            [&cli, flags] { return report(cli, *flags); });
    sub->add_option("-o,--output", flags->file, "where to write it; stdout when left out")
        ->type_name("FILE");
    sub->add_option("--format", flags->format, "when the file's name does not say it")
        ->check(CLI::IsMember({"html", "markdown", "json"}))
        ->type_name("FORMAT");
}

}  // namespace exodus::cli
