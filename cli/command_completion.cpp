// exodus completion bash|zsh|fish: generated from the command tree, so that it never falls behind.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/cli.h"
#include "workflow/exit_codes.h"

namespace exodus::cli {

namespace {

struct Word {
    std::string text;
    std::string help;
};

std::vector<Word> commands_of(const CLI::App* command) {
    std::vector<Word> out;
    for (const CLI::App* sub : command->get_subcommands([](const CLI::App*) { return true; })) {
        out.push_back({sub->get_name(), sub->get_description()});
    }
    return out;
}

std::vector<Word> options_of(const CLI::App* command) {
    std::vector<Word> out;
    for (const CLI::Option* option : command->get_options()) {
        for (const std::string& name : option->get_lnames())
            out.push_back({"--" + name, option->get_description()});
        for (const std::string& name : option->get_snames())
            out.push_back({"-" + name, option->get_description()});
    }
    return out;
}

/// Every command path with its words: "" for the program itself, "config show", …
void walk(const CLI::App* command, const std::string& path,
          std::map<std::string, const CLI::App*>& out) {
    out[path] = command;
    for (const CLI::App* sub : command->get_subcommands([](const CLI::App*) { return true; })) {
        walk(sub, path.empty() ? sub->get_name() : path + " " + sub->get_name(), out);
    }
}

std::string texts(const std::vector<Word>& words) {
    std::string out;
    for (const Word& word : words) out += (out.empty() ? "" : " ") + word.text;
    return out;
}

std::string bash(const std::map<std::string, const CLI::App*>& tree, const std::string& globals) {
    std::string cases;
    std::string names;
    for (const auto& [path, command] : tree) {
        cases += fmt::format("        '{}') words='{} {}' ;;\n", path, texts(commands_of(command)),
                             path.empty() ? globals : texts(options_of(command)) + " " + globals);
        if (!path.empty()) names += fmt::format("|'{}'", path);
    }
    return fmt::format(
        R"(# bash completion for exodus; load it with: source <(exodus completion bash)
_exodus() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" path='' words='' word i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${{COMP_WORDS[i]}}"
        [[ $word == -* ]] && continue
        case "${{path:+$path }}$word" in
        {}) path="${{path:+$path }}$word" ;;
        esac
    done
    case "$path" in
{}    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    [[ $current != -* && ${{#COMPREPLY[@]}} -eq 0 ]] && COMPREPLY=($(compgen -f -- "$current"))
}}
complete -o filenames -F _exodus exodus
)",
        names.substr(1), cases);
}

std::string quote_zsh(std::string text) {
    std::string out;
    for (const char c : text) {
        if (c == '\'') {
            out += "'\\''";
        } else if (c == '[' || c == ']' || c == ':') {
            out += std::string("\\") + c;
        } else {
            out += c;
        }
    }
    return out;
}

std::string zsh(const std::map<std::string, const CLI::App*>& tree, const CLI::App* root) {
    std::string cases;
    std::string names;
    for (const auto& [path, command] : tree) {
        std::string lines;
        for (const Word& word : commands_of(command))
            lines += fmt::format(" '{}:{}'", word.text, quote_zsh(word.help));
        std::string options;
        for (const Word& word : options_of(command))
            options += fmt::format(" '{}:{}'", word.text, quote_zsh(word.help));
        if (command != root) {
            for (const Word& word : options_of(root))
                options += fmt::format(" '{}:{}'", word.text, quote_zsh(word.help));
        }
        cases +=
            fmt::format("        '{}') commands=({} ); options=({} ) ;;\n", path, lines, options);
        if (!path.empty()) names += fmt::format("|'{}'", path);
    }
    return fmt::format(R"(#compdef exodus
# zsh completion for exodus; save it as _exodus in a directory of $fpath
_exodus() {{
    local route='' word
    local -a commands options
    for word in ${{words[2,CURRENT-1]}}; do
        [[ $word == -* ]] && continue
        case "${{route:+$route }}$word" in
        ({}) route="${{route:+$route }}$word" ;;
        esac
    done
    case "$route" in
{}    esac
    if [[ $PREFIX == -* ]]; then
        _describe -o option options
    elif (( $#commands )); then
        _describe command commands
    else
        _files
    fi
}}
compdef _exodus exodus
)",
                       names.substr(1), cases);
}

std::string quote_fish(const std::string& text) {
    std::string out;
    for (const char c : text) {
        if (c == '\'' || c == '\\') out += '\\';
        out += c;
    }
    return out;
}

std::string fish(const std::map<std::string, const CLI::App*>& tree) {
    std::string out =
        "# fish completion for exodus; save it as ~/.config/fish/completions/exodus.fish\n"
        "function __exodus_at\n"
        "    set -l words (commandline -opc)\n"
        "    set -l path\n"
        "    for word in $words[2..-1]\n"
        "        string match -q -- '-*' $word; or set path $path $word\n"
        "    end\n"
        "    test \"$path\" = \"$argv\"\n"
        "end\n"
        "complete -c exodus -f\n";
    for (const auto& [path, command] : tree) {
        const std::string condition = fmt::format("-n '__exodus_at {}'", path);
        for (const Word& word : commands_of(command)) {
            out += fmt::format("complete -c exodus {} -a '{}' -d '{}'\n", condition, word.text,
                               quote_fish(word.help));
        }
        for (const CLI::Option* option : command->get_options()) {
            std::string names;
            for (const std::string& name : option->get_lnames())
                names += fmt::format(" -l {}", name);
            for (const std::string& name : option->get_snames())
                names += fmt::format(" -s {}", name);
            if (names.empty()) continue;
            out += fmt::format("complete -c exodus {}{}{} -d '{}'\n", path.empty() ? "" : condition,
                               names, option->get_expected_max() > 0 ? " -r -F" : "",
                               quote_fish(option->get_description()));
        }
    }
    return out;
}

int completion(Cli& cli, const std::string& shell) {
    std::map<std::string, const CLI::App*> tree;
    walk(&cli.app, "", tree);
    const std::string text = shell == "bash"  ? bash(tree, texts(options_of(&cli.app)))
                             : shell == "zsh" ? zsh(tree, &cli.app)
                                              : fish(tree);
    if (!cli.out.json()) fmt::print("{}", text);
    return cli.out.result("completion", kDone, {{"shell", shell}, {"text", text}});
}

}  // namespace

void add_completion(Cli& cli) {
    auto shell = std::make_shared<std::string>();
    CLI::App* sub = cli.add("completion", "shell completion for bash, zsh or fish",
                            [&cli, shell] { return completion(cli, *shell); });
    sub->add_option("shell", *shell, "bash, zsh or fish")
        ->required()
        ->check(CLI::IsMember({"bash", "zsh", "fish"}))
        ->type_name("SHELL");
}

}  // namespace exodus::cli
