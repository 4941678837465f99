// A reader for the small part of the man macros that our own pages use; tests/tidy keeps the pages
// within it.
#include <fmt/format.h>
#include <utility>

#include "cli/manual.h"

namespace exodus::cli {

namespace {

/// Font and character escapes to text.
std::string unescape(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\' || i + 1 >= text.size()) {
            out += text[i];
            continue;
        }
        const char next = text[++i];
        if (next == 'f') {
            ++i;  // the font's letter
        } else if (next == '(') {
            const std::string_view name = text.substr(i + 1, 2);
            i += 2;
            out += name == "bu"   ? "•"
                   : name == "em" ? "—"
                   : name == "->" ? "→"
                   : name == "aq" ? "'"
                   : name == "dq" ? "\""
                                  : "?";
        } else if (next == '&') {
            continue;
        } else if (next == 'e') {
            out += '\\';
        } else {
            out += next;  // \- \. \\ and "\ "
        }
    }
    return out;
}

/// Arguments of a macro; quotes group.
std::vector<std::string> arguments(std::string_view text) {
    std::vector<std::string> out;
    std::string current;
    bool quoted = false;
    bool any = false;
    for (const char c : text) {
        if (c == '"') {
            quoted = !quoted;
            any = true;
        } else if (c == ' ' && !quoted) {
            if (any) out.push_back(std::exchange(current, {}));
            any = false;
        } else {
            current += c;
            any = true;
        }
    }
    if (any) out.push_back(current);
    return out;
}

std::size_t columns(std::string_view text) {
    std::size_t count = 0;
    for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U ? 1 : 0;
    return count;
}

class Page {
  public:
    std::string render(std::string_view roff) {
        while (!roff.empty()) {
            const auto end = roff.find('\n');
            line(roff.substr(0, end));
            if (end == std::string_view::npos) break;
            roff.remove_prefix(end + 1);
        }
        flush();
        return std::move(out_);
    }

  private:
    static constexpr std::size_t kWidth = 78;

    void line(std::string_view text) {
        if (text.starts_with(".\\\"")) return;
        if (!text.starts_with('.')) return verbatim_ ? raw(unescape(text)) : add(unescape(text));
        const auto space = text.find(' ');
        const std::string_view macro =
            text.substr(1, space == std::string_view::npos ? space : space - 1);
        const auto words = arguments(space == std::string_view::npos ? "" : text.substr(space + 1));
        std::string joined;
        std::string tight;
        for (const std::string& word : words) {
            joined += (joined.empty() ? "" : " ") + unescape(word);
            tight += unescape(word);
        }
        if (macro == "TH") {
            out_ += fmt::format("{}({})\n", words.empty() ? "" : unescape(words[0]),
                                words.size() > 1 ? words[1] : "");
        } else if (macro == "SH" || macro == "SS") {
            flush();
            indent_ = 7;
            out_ += fmt::format("\n{}{}\n", macro == "SS" ? "   " : "", joined);
        } else if (macro == "PP") {
            flush();
            indent_ = 7 + shift_;
            blank();
        } else if (macro == "TP") {
            flush();
            indent_ = 7 + shift_;
            blank();
            tag_ = true;
        } else if (macro == "RS") {
            flush();
            shift_ += 4;
            indent_ = 7 + shift_;
        } else if (macro == "RE") {
            flush();
            shift_ = shift_ >= 4 ? shift_ - 4 : 0;
            indent_ = 7 + shift_;
        } else if (macro == "EX" || macro == "nf") {
            flush();
            verbatim_ = true;
        } else if (macro == "EE" || macro == "fi") {
            verbatim_ = false;
        } else if (macro == "br") {
            flush();
        } else if (macro == "B" || macro == "I") {
            verbatim_ ? raw(joined) : add(joined);
        } else if (macro == "BR" || macro == "IR" || macro == "BI" || macro == "IB" ||
                   macro == "RB" || macro == "RI") {
            verbatim_ ? raw(tight) : add(tight);
        }
    }

    void blank() {
        if (!out_.ends_with("\n\n")) out_ += '\n';
    }

    void raw(const std::string& text) {
        out_ += std::string(text.empty() ? 0 : indent_ + 2, ' ') + text + "\n";
    }

    void add(const std::string& text) {
        paragraph_ += (paragraph_.empty() ? "" : " ") + text;
        if (tag_) {
            tag_ = false;
            out_ += std::string(indent_, ' ') + std::exchange(paragraph_, {}) + "\n";
            indent_ += 7;
        }
    }

    void flush() {
        std::string line;
        std::string_view rest = paragraph_;
        while (!rest.empty()) {
            const auto space = rest.find(' ');
            const std::string_view word = rest.substr(0, space);
            rest = space == std::string_view::npos ? std::string_view{} : rest.substr(space + 1);
            if (word.empty()) continue;
            if (!line.empty() && indent_ + columns(line) + 1 + columns(word) > kWidth) {
                out_ += std::string(indent_, ' ') + std::exchange(line, {}) + "\n";
            }
            if (!line.empty()) line += ' ';
            line += word;
        }
        if (!line.empty()) out_ += std::string(indent_, ' ') + line + "\n";
        paragraph_.clear();
    }

    std::string out_;
    std::string paragraph_;
    std::size_t indent_ = 7;
    std::size_t shift_ = 0;
    bool tag_ = false;
    bool verbatim_ = false;
};

}  // namespace

std::string manual_text(std::string_view roff) { return Page().render(roff); }

}  // namespace exodus::cli
