#include "bench/trace.hpp"

#include <charconv>
#include <chrono>
#include <fstream>
#include <optional>
#include <string_view>

#include "bench/lines.hpp"
#include "demo/rng.hpp"

namespace collm::bench {
namespace {

constexpr std::string_view columns = "TIMESTAMP,ContextTokens,GeneratedTokens";
constexpr std::size_t line_bytes_max = 256;
constexpr std::uint32_t tokens_max = 10'000'000;

std::optional<std::uint32_t> whole(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// ".6805900" is 680; no fraction is 0.
std::optional<std::uint32_t> fraction_ms(std::string_view text) {
  if (text.empty()) return 0;
  if (text[0] != '.' || text.find_first_not_of("0123456789", 1) != text.npos) return std::nullopt;
  std::string digits(text.substr(1));
  digits.resize(3, '0');
  return whole(digits);
}

/// "2023-11-16 18:15:46.6805900" to milliseconds; the fraction may be absent.
std::optional<std::int64_t> milliseconds(std::string_view text) {
  constexpr std::string_view shape = "0000-00-00 00:00:00";
  if (text.size() < shape.size()) return std::nullopt;
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (shape[i] != '0' && text[i] != shape[i]) return std::nullopt;
  const auto year = whole(text.substr(0, 4)), month = whole(text.substr(5, 2)),
             day = whole(text.substr(8, 2)), hour = whole(text.substr(11, 2)),
             minute = whole(text.substr(14, 2)), second = whole(text.substr(17, 2));
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  if (*hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(*year)),
                                         std::chrono::month(*month), std::chrono::day(*day)};
  if (!date.ok()) return std::nullopt;
  const auto thousandths = fraction_ms(text.substr(shape.size()));
  if (!thousandths) return std::nullopt;
  const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  return ((days * 24 + *hour) * 60 + *minute) * 60'000 + *second * 1000 + *thousandths;
}

struct row {
  std::int64_t at_ms = 0;
  std::uint32_t prompt_tokens = 0;
  std::uint32_t answer_tokens = 0;
};

std::optional<row> parsed(std::string_view line) {
  const auto first = line.find(',');
  const auto second = first == line.npos ? first : line.find(',', first + 1);
  if (second == line.npos) return std::nullopt;
  const auto at = milliseconds(line.substr(0, first));
  const auto prompt = whole(line.substr(first + 1, second - first - 1));
  const auto answer = whole(line.substr(second + 1));
  if (!at || !prompt || !answer || *prompt > tokens_max || *answer > tokens_max)
    return std::nullopt;
  return row{*at, *prompt, *answer};
}

result<void> check_header(line_reader& lines) {
  std::string text;
  const auto there = lines.next(text);
  if (!there) return there.failure();
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
  if (text != columns) return lines.wrong("the columns must be " + std::string(columns));
  return {};
}

/// Exponential with mean 1, by von Neumann's comparisons of uniforms: no logarithm, so no last bit
/// that differs between machines. Whole part: failed trials; fraction: the first uniform of the
/// trial that succeeds (an odd run).
double exponential(demo::rng& random) {
  for (std::uint32_t whole_part = 0;; ++whole_part) {
    const std::uint64_t first = random.next() >> 11;
    std::uint64_t last = first;
    std::uint32_t run = 1;
    for (std::uint64_t u; (u = random.next() >> 11) < last; last = u) ++run;
    if (run % 2 == 1) return whole_part + static_cast<double>(first) * 0x1p-53;
  }
}

}  // namespace

result<std::vector<arrival>> read_trace(std::istream& in, const std::string& name, trace_cut cut) {
  if (cut.limit == 0 || cut.limit > arrivals_max)
    return error{errc::bad_request, "limit must be from 1 to " + std::to_string(arrivals_max)};
  line_reader lines(in, name, line_bytes_max);
  if (auto header = check_header(lines); !header) return header.failure();
  std::vector<arrival> arrivals;
  std::string text;
  std::int64_t first_ms = 0, last_ms = 0;
  for (std::uint64_t index = 0; arrivals.size() < cut.limit; ++index) {
    const auto more = lines.next(text);
    if (!more) return more.failure();
    if (!*more) break;
    if (index < cut.skip) continue;
    const auto r = parsed(text);
    if (!r) return lines.wrong("must be like 2023-11-16 18:15:46.6805900,374,44");
    if (arrivals.empty()) first_ms = last_ms = r->at_ms;
    if (r->at_ms < last_ms) return lines.wrong("is before the line above; sort by TIMESTAMP");
    last_ms = r->at_ms;
    arrivals.push_back(
        {static_cast<std::uint64_t>(r->at_ms - first_ms), r->prompt_tokens, r->answer_tokens});
  }
  if (arrivals.empty())
    return error{errc::bad_request, name + ": no arrival after the skipped ones"};
  return arrivals;
}

result<std::vector<arrival>> read_trace_file(const std::string& path, trace_cut cut) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return error{errc::io, path + ": cannot be opened; is there such a file?"};
  return read_trace(in, path, cut);
}

std::vector<arrival> arrivals_at_rate(spacing how, double per_second, std::uint64_t count,
                                      std::uint64_t seed) {
  demo::rng random(seed);
  const double mean_ms = 1000.0 / per_second;
  std::vector<arrival> arrivals(count);
  double at_ms = 0;
  for (arrival& a : arrivals) {
    if (how == spacing::poisson) at_ms += mean_ms * exponential(random);
    a.t_ms = static_cast<std::uint64_t>(at_ms);
    if (how == spacing::uniform) at_ms += mean_ms;
  }
  return arrivals;
}

}  // namespace collm::bench
