// What a node's gateway may do with its site's own examples. Nothing of it leaves the process but
// as counts, and to a client of this gateway. Calls return at once, from any thread; callbacks come
// on a thread of the implementation.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "messages/result.hpp"

namespace collm::gateway {

/// A line of a file that was not taken, and why.
struct bad_file_line {
  std::uint64_t line = 0;  ///< from 1
  std::string reason;
};

/// A file that was sent here. Its rows are in the site's store; the text itself is not kept.
struct site_file {
  std::string id;    ///< "file-" and the start of the digest of its bytes: the same file, one id
  std::string name;  ///< as the client called it
  std::uint64_t bytes = 0;
  std::int64_t created = 0;                                      ///< Unix time, s
  std::uint64_t added = 0, known = 0, bad = 0;                   ///< lines
  std::vector<std::pair<std::string, std::uint64_t>> sets = {};  ///< rows added, by set
  std::vector<bad_file_line> first_bad = {};  ///< of the upload itself; not kept for later
};

/// A chat's messages as a JSON array, or the plain text of a completion.
struct asked_question {
  std::string tenant;  ///< empty: none
  std::string messages, prompt;
};

class site_port {
 public:
  virtual ~site_port() = default;
  virtual const std::string& site() const = 0;

  /// Keeps the question of an answer, so that feedback may name it.
  virtual void remember(std::string answer_id, asked_question question) = 0;
  /// The right answer, from the tenant that asked; `tenant` empty: from whoever operates the
  /// cluster. The reply is the name of the set that the new row fell into. not_found: never
  /// answered here, too long ago, or to another tenant.
  virtual void feedback(std::string answer_id, std::string tenant, std::string answer,
                        std::function<void(result<std::string>)> reply) = 0;

  /// JSONL. bad_request: no line of it can be used.
  virtual void add_file(std::string name, std::string text,
                        std::function<void(result<site_file>)> reply) = 0;
  /// Oldest first.
  virtual void files(std::function<void(std::vector<site_file>)> reply) = 0;
  /// Forgets the file's entry; its rows stay in the store.
  virtual void remove_file(std::string id, std::function<void(result<void>)> reply) = 0;
};

}  // namespace collm::gateway
