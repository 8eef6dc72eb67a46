// Any bytes as a site's examples: a line, text that is uploaded, a file of its folder that grows,
// the right answer to a question that was served. A line is refused with its file and number, or it
// is a row within its bounds, the same in whatever parts it came and when it is written and read
// again; the store never holds more rows than it may.
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "messages/assert.hpp"
#include "messages/limits.hpp"
#include "store/digest.hpp"
#include "store/site_data.hpp"

namespace {

using namespace collm;
using namespace collm::store;
using json = nlohmann::ordered_json;

constexpr site_limits bounds{.rows_max = 12, .line_bytes_max = 400, .remembered_max = 4};
constexpr const char* file_name = "rows.jsonl";

std::unique_ptr<site_data> fresh(const site_limits& limit = bounds) {
  auto made = site_data::open(":memory:", default_shares, limit);
  COLLM_ASSERT(made);
  return std::move(*made);
}

/// Numbers, from 1, of the lines that say something.
std::vector<std::uint64_t> lines_of(std::string_view text) {
  std::vector<std::uint64_t> out;
  for (std::uint64_t number = 1; !text.empty(); ++number) {
    const auto end = std::min(text.find('\n'), text.size());
    auto line = text.substr(0, end);
    text.remove_prefix(std::min(text.size(), end + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t") != line.npos) out.push_back(number);
  }
  return out;
}

/// The row as a line of a file would say it.
std::string line_of(const site_row& row) {
  if (row.messages.empty())
    return json{{"prompt", row.prompt}, {"completion", row.completion}}.dump();
  auto messages = json::parse(row.messages);
  messages.push_back({{"role", "assistant"}, {"content", row.completion}});
  return json{{"messages", std::move(messages)}}.dump();
}

void check_row(const site_row& row) {
  COLLM_ASSERT(is_digest(row.id) && !row.completion.empty());
  COLLM_ASSERT(row.messages.empty() != row.prompt.empty());
  const auto turns = turns_of(row);
  COLLM_ASSERT(turns && turns->empty() == row.messages.empty());
  COLLM_ASSERT(turns->size() < limits{}.messages_max);
  for (const auto& [role, content] : *turns)
    COLLM_ASSERT(role == "system" || role == "user" || role == "assistant");
  const auto again = row_of_line(line_of(row));
  COLLM_ASSERT(again && again->id == row.id);
}

/// Every row, checked.
std::vector<site_row> rows_of(site_data& data, std::uint64_t rows_max) {
  std::vector<site_row> out;
  const auto counts = data.counts();
  COLLM_ASSERT(counts);
  for (std::size_t s = 0; s < data_sets_count; ++s) {
    const auto some = data.rows(static_cast<data_set>(s), 0, 1000);
    COLLM_ASSERT(some && some->size() == (*counts)[s]);
    out.insert(out.end(), some->begin(), some->end());
  }
  COLLM_ASSERT(out.size() <= rows_max);
  for (const auto& row : out) check_row(row);
  return out;
}

void check_report(const import_report& report, std::string_view text) {
  const auto lines = lines_of(text);
  COLLM_ASSERT(report.added + report.known + report.bad == lines.size());
  COLLM_ASSERT(report.first_bad.size() == std::min<std::size_t>(report.bad, bad_lines_told));
  std::uint64_t before = 0;
  for (const auto& bad : report.first_bad) {
    COLLM_ASSERT(bad.file == file_name && !bad.reason.empty() && bad.line > before);
    COLLM_ASSERT(std::find(lines.begin(), lines.end(), bad.line) != lines.end());
    before = bad.line;
  }
}

void line(std::string_view text) {
  const auto row = row_of_line(text);
  if (row) return check_row(*row);
  COLLM_ASSERT(row.failure().code == errc::bad_request && !row.failure().message.empty());
}

void upload(std::string_view text) {
  auto data = fresh();
  const auto report = data->import_text(file_name, text);
  const auto rows = rows_of(*data, bounds.rows_max);
  if (!report) {
    COLLM_ASSERT(report.failure().code == errc::overloaded && rows.empty());
    return;
  }
  check_report(*report, text);
  COLLM_ASSERT(rows.size() == report->added);
  for (const auto& row : rows)
    COLLM_ASSERT(row.messages.size() + row.prompt.size() + row.completion.size() <=
                 bounds.line_bytes_max);
  const auto again = data->import_text(file_name, text);
  if (!again) return COLLM_ASSERT(rows.size() == bounds.rows_max);
  COLLM_ASSERT(again->added == 0 && again->known == report->added + report->known);
}

/// A folder of this process, with one file.
struct folder {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("collm-site-rows-fuzz-" + std::to_string(getpid()));
  folder() { std::filesystem::create_directories(path); }
  ~folder() { std::filesystem::remove_all(path); }
  void write(std::string_view text) const {
    std::ofstream(path / file_name, std::ios::binary) << text;
  }
};

/// The first byte says how much of the rest is there when the folder is first looked at.
void grow(std::string_view bytes) {
  if (bytes.empty()) return;
  static const folder in;
  const auto text = bytes.substr(1);
  auto data = fresh(), at_once = fresh();
  in.write(text.substr(0, text.size() * static_cast<unsigned char>(bytes[0]) / 255));
  const auto begun = data->import_folder(in.path);
  in.write(text);
  const auto rest = data->import_folder(in.path);
  const auto rows = rows_of(*data, bounds.rows_max);
  const auto whole = text.substr(0, text.rfind('\n') + 1);  // npos + 1: nothing
  const auto report = at_once->import_text(file_name, whole);
  if (!report) return COLLM_ASSERT(!rest && rest.failure().code == errc::overloaded);
  if (!begun || !rest) return COLLM_ASSERT(rows.size() == bounds.rows_max);
  COLLM_ASSERT(begun->added + rest->added == report->added);
  COLLM_ASSERT(begun->known + rest->known == report->known);
  COLLM_ASSERT(begun->bad + rest->bad == report->bad);
  for (const auto& bad : rest->first_bad)
    COLLM_ASSERT(!report->first_bad.empty() && bad.line >= report->first_bad.front().line);
  const auto same = rows_of(*at_once, bounds.rows_max);
  COLLM_ASSERT(std::equal(rows.begin(), rows.end(), same.begin(), same.end(),
                          [](const auto& a, const auto& b) { return a.id == b.id; }));
}

/// One line is the question, a chat's if it begins with '['; the rest is the answer.
void answer(std::string_view bytes) {
  const auto end = std::min(bytes.find('\n'), bytes.size());
  const std::string asked(bytes.substr(0, end));
  const std::string right(bytes.substr(std::min(bytes.size(), end + 1)));
  const bool chat = asked.starts_with('[');
  auto data = fresh({.rows_max = 1, .line_bytes_max = 400, .remembered_max = 4});
  COLLM_ASSERT(data->remember("r1", {chat ? asked : "", chat ? "" : asked, ""}));
  const auto kept = data->add_feedback("r1", "", right);
  COLLM_ASSERT(kept || !kept.failure().message.empty());
  const auto rows = rows_of(*data, 1);
  COLLM_ASSERT(rows.size() == (kept ? 1 : 0));
  if (!kept) return;
  const auto another = data->add_feedback("r1", "", right + "!");
  COLLM_ASSERT(!another && another.failure().code == errc::overloaded);
  rows_of(*data, 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      line(rest);
      break;
    case 1:
      upload(rest);
      break;
    case 2:
      grow(rest);
      break;
    default:
      answer(rest);
  }
  return 0;
}
