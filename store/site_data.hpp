// A site's own examples, in its own store: imported, split, and never told to anybody but this
// site's processes. Lines of JSONL are `{"messages": […]}` or `{"prompt": …, "completion": …}`; a
// row's set follows from the hash of its prompt alone, so that the five sets are disjoint, the same
// at every import, and two answers to one prompt never part. Owner: the node's thread that reads
// files.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "messages/result.hpp"
#include "store/sqlite.hpp"

namespace collm::store {

/// What a row is for. `served` is the workload whose answers are scored; `report` is looked at only
/// by the reports.
enum class data_set : std::uint8_t { train, gate, canary, served, report };
inline constexpr std::size_t data_sets_count = 5;
std::string_view to_string(data_set s);

/// Parts of the five sets, in their order; they add up to 1.
using split_shares = std::array<double, data_sets_count>;
inline constexpr split_shares default_shares = {0.70, 0.12, 0.05, 0.05, 0.08};

struct site_row {
  std::int64_t number = 0;    ///< in the order of arrival, from 1: a training cursor
  std::string id = {};        ///< digest of prompt and completion
  std::string messages = {};  ///< JSON array up to the last question; empty: `prompt` is plain text
  std::string prompt = {};
  std::string completion = {};
};

/// What a request asked: a chat's messages (JSON array), or the plain text of a completion; and the
/// tenant that asked, empty: none.
struct served_question {
  std::string messages = {}, prompt = {}, owner = {};
};

struct bad_line {
  std::string file = {};
  std::uint64_t line = 0;  ///< from 1
  std::string reason = {};
};

struct import_report {
  std::uint64_t added = 0, known = 0, bad = 0;
  std::array<std::uint64_t, data_sets_count> added_by_set{};
  std::vector<bad_line> first_bad = {};  ///< the first bad_lines_told of them
};
inline constexpr std::size_t bad_lines_told = 20;

struct site_limits {
  std::uint64_t rows_max = 1'000'000;
  std::uint64_t line_bytes_max = 1 << 20;
  std::uint64_t remembered_max = 10'000;  ///< served requests that feedback may still name
};

class site_data {
 public:
  /// Opens or makes `file`. conflict: it was made with other shares, for a row never changes its
  /// set; refusals otherwise as those of the version store.
  static result<std::unique_ptr<site_data>> open(const std::filesystem::path& file,
                                                 const split_shares& shares = default_shares,
                                                 const site_limits& bounds = {});

  /// Takes every line of `text` in, one transaction. `name` is for the report. A bad line is
  /// counted and named, and hinders no other. overloaded: rows_max. `set`: all lines belong to it,
  /// for data that came divided.
  result<import_report> import_text(const std::string& name, std::string_view text,
                                    std::optional<data_set> set = {});
  result<import_report> import_file(const std::filesystem::path& file);
  /// Files *.jsonl of a folder that grows: what came since the last time, whole lines only. A file
  /// that shrank or whose read part changed is read anew.
  result<import_report> import_folder(const std::filesystem::path& folder);

  /// Keeps the question of a request, so that feedback can name it. The oldest beyond
  /// remembered_max are forgotten.
  result<void> remember(const std::string& request, const served_question& question);
  /// The right answer to a request, from its owner; `asking` empty: from whoever operates the
  /// cluster. not_found: never served here, too long ago, or another's; overloaded: rows_max.
  result<data_set> add_feedback(const std::string& request, const std::string& asking,
                                const std::string& answer);

  result<std::array<std::uint64_t, data_sets_count>> counts();
  /// Rows of a set with a number above `after`, in the order of arrival.
  result<std::vector<site_row>> rows(data_set set, std::int64_t after, std::uint32_t count);
  /// The first `count` rows of a set from place `first`, in an order that follows from `key` alone:
  /// what the gate evaluates for an adapter's version.
  result<std::vector<site_row>> ordered(data_set set, const std::string& key, std::uint32_t first,
                                        std::uint32_t count);

 private:
  site_data(database db, const split_shares& shares, const site_limits& bounds)
      : db_(std::move(db)), shares_(shares), bounds_(bounds) {}
  result<void> check_shares();
  result<void> import_lines(const std::string& name, std::string_view text, std::uint64_t first,
                            std::optional<data_set> set, import_report& report);
  result<void> add_row(const site_row& row, data_set set, import_report& report);
  result<void> import_new_part(const std::filesystem::path& file, import_report& report);

  database db_;
  split_shares shares_;
  site_limits bounds_;
};

/// A row's question as turns of a chat (role, content); empty: it is plain text.
result<std::vector<std::pair<std::string, std::string>>> turns_of(const site_row& row);

/// One line as a row. bad_request: what is wrong with it, and what would be right.
result<site_row> row_of_line(std::string_view line);
/// A served question with its right answer, as the same line would be.
result<site_row> row_of_answer(const served_question& question, const std::string& answer);

}  // namespace collm::store
