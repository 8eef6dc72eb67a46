// Where a verb's words go: text for people or JSON for scripts, colours only on a terminal, one way
// to fail. Main thread.
#pragma once

#include <filesystem>
#include <iosfwd>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "messages/result.hpp"

namespace collm::cli {

using json = nlohmann::ordered_json;

/// What the process returns. Wrong usage and an invalid manifest are the caller's to mend before
/// anything ran.
enum exit_code : int { success = 0, failed = 1, wrong_usage = 2 };

enum class style : std::uint8_t { plain, dim, bold, good, warning, bad };

class console {
 public:
  console(std::ostream& out, std::ostream& err, bool colours)
      : out_(out), err_(err), colours_(colours) {}

  void choose_json(bool json_output) { json_ = json_output; }
  bool wants_json() const { return json_; }

  std::ostream& out() const { return out_; }
  /// Progress and remarks: never part of what a script reads.
  std::ostream& remarks() const { return err_; }
  /// A dim line for people; nothing where JSON is wanted.
  void remark(std::string_view text) const;
  /// `text`: one line; what would be a control character of a terminal in it is '?'.
  std::string painted(std::string_view text, style how) const;

  /// One JSON document on one line.
  void print(const json& document) const;

  /// Reports the failure (JSON: {"error":{"code","message"}}) and gives the exit code that belongs
  /// to it.
  int fail(const error& why) const;

 private:
  std::ostream& out_;
  std::ostream& err_;
  bool colours_;
  bool json_ = false;
};

/// Rows of cells as columns, two blanks between them. Cells may hold texts of others: a control
/// character in one is '?'.
std::string table(const std::vector<std::vector<std::string>>& rows);

}  // namespace collm::cli
