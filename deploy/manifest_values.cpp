#include "deploy/manifest_values.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>
#include <regex>
#include <sstream>

namespace collm::deploy {
namespace {

error wrong(std::string message) { return {errc::bad_request, std::move(message)}; }

std::string in_quotes(std::string_view text) {
  std::string quoted(1, '"');
  quoted.append(text).push_back('"');
  return quoted;
}

struct quantity {
  double number = 0;
  std::string unit;
};

/// "1.5Gi" to 1.5 and "Gi". No sign, no exponent: sizes and durations have neither.
std::optional<quantity> split_quantity(const std::string& text) {
  const auto end = text.find_first_not_of("0123456789.");
  const std::string digits = text.substr(0, end);
  quantity q;
  const auto [stop, failed] =
      std::from_chars(digits.data(), digits.data() + digits.size(), q.number);
  if (digits.empty() || failed != std::errc{} || stop != digits.data() + digits.size()) {
    return std::nullopt;
  }
  if (end != std::string::npos) q.unit = text.substr(end);
  return q;
}

struct unit {
  std::string_view name;
  double factor;
};
constexpr std::array size_units = {unit{"", 1},
                                   unit{"Ki", 1024.0},
                                   unit{"Mi", 1048576.0},
                                   unit{"Gi", 1073741824.0},
                                   unit{"Ti", 1024.0 * 1073741824.0},
                                   unit{"k", 1e3},
                                   unit{"M", 1e6},
                                   unit{"G", 1e9},
                                   unit{"T", 1e12}};
constexpr std::array time_units = {unit{"ms", 1}, unit{"s", 1e3}, unit{"m", 60e3},
                                   unit{"h", 3600e3}};

template <class Units>
const unit* find_unit(const Units& units, const std::string& name) {
  const auto found =
      std::find_if(units.begin(), units.end(), [&](const unit& u) { return u.name == name; });
  return found == units.end() ? nullptr : &*found;
}

std::string milliseconds_text(std::uint32_t ms) {
  return ms % 1000 ? std::to_string(ms) + "ms" : std::to_string(ms / 1000) + "s";
}

std::string real_text(double value) {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "%g", value);
  return text.data();
}

template <class T>
std::optional<T> whole_number(std::string_view text, int base = 10) {
  T value{};
  const auto [stop, failed] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (failed != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> real_number(std::string_view text) {
  double value = 0;
  const auto [stop, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc{} || stop != text.data() + text.size() || !std::isfinite(value)) {
    return std::nullopt;
  }
  return value;
}

value_parser<std::string> matching(const char* pattern, std::string rule) {
  return [expression = std::regex(pattern), rule](const std::string& text) -> result<std::string> {
    if (text.size() > 63 || !std::regex_match(text, expression)) {
      return wrong(in_quotes(text) + " is not a name: " + rule);
    }
    return text;
  };
}

/// "[::1]:8080" and "127.0.0.1:8080" to host and port text; nullopt without a port.
std::optional<std::pair<std::string, std::string>> split_address(const std::string& text) {
  const auto colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return std::nullopt;
  std::string host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (!bracketed && host.find(':') != std::string::npos) return std::nullopt;
  return std::pair{host, text.substr(colon + 1)};
}

result<address> read_address(const std::string& text) {
  const auto parts = split_address(text);
  const auto port = parts ? whole_number<std::uint16_t>(parts->second) : std::nullopt;
  if (!port || *port == 0) {
    return wrong(
        in_quotes(text) +
        " is not an address; write host:port, such as 127.0.0.1:8080, port from 1 to 65535");
  }
  return address{parts->first == "localhost" ? "127.0.0.1" : parts->first, *port};
}

bool is_ip(const std::string& host) {
  in6_addr bytes;
  return ::inet_pton(AF_INET, host.c_str(), &bytes) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), &bytes) == 1;
}

std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed =
          diagonal + (std::tolower(a[i - 1]) == std::tolower(b[j - 1]) ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

value_parser<std::uint64_t> bytes_between(std::uint64_t least, std::uint64_t most) {
  return [=](const std::string& text) -> result<std::uint64_t> {
    const auto q = split_quantity(text);
    if (!q)
      return wrong(in_quotes(text) +
                   " is not a size; write a number with Ki, Mi or Gi, such as 512Mi");
    const unit* u = find_unit(size_units, q->unit);
    if (!u) {
      return wrong("unit " + in_quotes(q->unit) +
                   " is not known for a size; use Ki, Mi, Gi, Ti (powers of 1024) or k, M, G, T");
    }
    const double bytes = q->number * u->factor;
    if (bytes < double(least) || bytes > double(most)) {
      return wrong(text + " is out of range; from " + bytes_text(least) + " to " +
                   bytes_text(most));
    }
    return static_cast<std::uint64_t>(bytes);
  };
}

value_parser<std::uint32_t> milliseconds_between(std::uint32_t least, std::uint32_t most) {
  return [=](const std::string& text) -> result<std::uint32_t> {
    const auto q = split_quantity(text);
    if (!q)
      return wrong(in_quotes(text) +
                   " is not a duration; write a number with ms, s, m or h, such as 2s");
    if (q->unit.empty()) return wrong(text + " has no unit; write " + text + "ms or " + text + "s");
    const unit* u = find_unit(time_units, q->unit);
    if (!u)
      return wrong("unit " + in_quotes(q->unit) +
                   " is not known for a duration; use ms, s, m or h");
    const double ms = std::round(q->number * u->factor);
    if (ms < least || ms > most) {
      return wrong(text + " is out of range; from " + milliseconds_text(least) + " to " +
                   milliseconds_text(most));
    }
    return static_cast<std::uint32_t>(ms);
  };
}

value_parser<std::uint32_t> whole_between(std::uint32_t least, std::uint32_t most) {
  return [=](const std::string& text) -> result<std::uint32_t> {
    const auto value = whole_number<std::int64_t>(text);
    if (!value || *value < least || *value > most) {
      return wrong(in_quotes(text) + " is not a whole number from " + std::to_string(least) +
                   " to " + std::to_string(most));
    }
    return static_cast<std::uint32_t>(*value);
  };
}

value_parser<double> real_between(double least, double most) {
  return [=](const std::string& text) -> result<double> {
    const auto value = real_number(text);
    if (!value || *value < least || *value > most) {
      return wrong(in_quotes(text) + " is not a number from " + real_text(least) + " to " +
                   real_text(most));
    }
    return *value;
  };
}

value_parser<double> one_of(std::vector<double> numbers) {
  return [numbers = std::move(numbers)](const std::string& text) -> result<double> {
    const auto number = real_between(-1e300, 1e300)(text);
    if (!number) return number;
    if (std::find(numbers.begin(), numbers.end(), *number) != numbers.end()) return number;
    std::string known;
    for (const double n : numbers) {
      std::ostringstream one;
      one << n;
      known += (known.empty() ? "" : ", ") + one.str();
    }
    return error{errc::bad_request, text + " is not one of " + known};
  };
}

value_parser<double> rate() {
  return [](const std::string& text) -> result<double> {
    const auto slash = text.find('/');
    const auto count = real_number(std::string_view(text).substr(0, slash));
    const std::string per = slash == std::string::npos ? "" : text.substr(slash + 1);
    const double seconds = per == "s" ? 1 : per == "min" ? 60 : 0;
    if (!count || *count <= 0 || seconds == 0) {
      return wrong(in_quotes(text) +
                   " is not a rate; write requests per time, such as 10/s or 600/min");
    }
    return *count / seconds;
  };
}

value_parser<bool> yes_or_no() {
  return [](const std::string& text) -> result<bool> {
    if (text == "true") return true;
    if (text == "false") return false;
    return wrong(in_quotes(text) + " is not true or false");
  };
}

value_parser<std::string> any_text() {
  return [](const std::string& text) -> result<std::string> {
    if (text.empty()) return wrong("is empty");
    return text;
  };
}

value_parser<std::string> label() {
  return matching("[a-z0-9]([a-z0-9-]*[a-z0-9])?",
                  "at most 63 lower-case letters, digits and inner \"-\", such as edge-a");
}

value_parser<std::string> adapter_name() {
  return matching("[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?",
                  "at most 63 letters, digits and inner \".\", \"_\", \"-\", such as assistant");
}

value_parser<std::string> sha256_hex() {
  return [](const std::string& text) -> result<std::string> {
    const bool hex =
        std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isxdigit(c); });
    if (text.size() != 64 || !hex) {
      return wrong(
          "is not a SHA-256; write its 64 hex digits (printf %s KEY | sha256sum), never the key");
    }
    std::string lower = text;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    return lower;
  };
}

value_parser<std::string> word_of(std::string what, std::vector<std::string> words) {
  return [what = std::move(what),
          words = std::move(words)](const std::string& text) -> result<std::string> {
    if (std::find(words.begin(), words.end(), text) != words.end()) return text;
    return wrong(in_quotes(text) + " is not a " + what + "; one of " + joined(words));
  };
}

value_parser<address> loopback_address(std::string why_loopback) {
  return [why = std::move(why_loopback)](const std::string& text) -> result<address> {
    auto read = read_address(text);
    if (!read || is_loopback(read->host)) return read;
    return wrong(in_quotes(read->host) + " is not loopback; " + why +
                 "; write 127.0.0.1:" + std::to_string(read->port));
  };
}

value_parser<address> any_address() {
  return [](const std::string& text) -> result<address> {
    auto read = read_address(text);
    if (!read || is_ip(read->host)) return read;
    return wrong(in_quotes(read->host) +
                 " is not an IP address; write one of this machine's, or 0.0.0.0 for all");
  };
}

value_parser<std::string> host_name() {
  return [](const std::string& text) -> result<std::string> {
    static const std::regex name("[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?");
    if (!is_unspecified(text) && text.size() <= 253 &&
        (is_ip(text) || std::regex_match(text, name)))
      return text;
    return wrong(in_quotes(text) +
                 " cannot be reached from elsewhere; write a DNS name or an IP address without a "
                 "port, such as head.example.org");
  };
}

bool is_unspecified(const std::string& host) { return host == "0.0.0.0" || host == "::"; }

bool is_loopback(const std::string& host) {
  static const std::regex v4("127\\.(\\d{1,3})\\.(\\d{1,3})\\.(\\d{1,3})");
  std::smatch part;
  if (!std::regex_match(host, part, v4)) return host == "localhost" || host == "::1";
  return std::all_of(part.begin() + 1, part.end(),
                     [](const auto& p) { return std::stoi(p.str()) <= 255; });
}

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  std::string best;
  // "thread" for "threads", "tttf" for "ttft", "kvcache" for "kvCache"; but not "data" for "name".
  std::size_t best_distance = (word.size() < 4 ? 1 : std::max<std::size_t>(2, word.size() / 3)) + 1;
  for (const std::string& candidate : known) {
    const std::size_t d = distance(word.substr(0, 64), candidate);
    if (d < best_distance) best = candidate, best_distance = d;
  }
  return best;
}

std::string joined(const std::vector<std::string>& words) {
  std::string all;
  for (const std::string& word : words) all += (all.empty() ? "" : ", ") + word;
  return all;
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> names = {"", "Ki", "Mi", "Gi", "Ti"};
  double value = double(bytes);
  std::size_t step = 0;
  for (; value >= 1024 && step + 1 < names.size(); ++step) value /= 1024;
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), value == std::floor(value) ? "%.0f%s" : "%.1f%s", value,
                names[step]);
  return text.data();
}

}  // namespace collm::deploy
