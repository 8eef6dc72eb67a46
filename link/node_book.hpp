// Which certificates of nodes the head accepts: a list of those it has signed, not of those it has
// not. Plain values; time is an argument (Unix seconds). The authority keeps it in a file.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "messages/result.hpp"

namespace collm::link {

class node_book {
 public:
  struct certificate {
    std::string id;
    std::int64_t until = 0;  ///< accepted before; 0: as long as it is valid
  };
  struct entry {
    std::string site;
    std::vector<certificate> accepted;  ///< oldest first, at most certificates_max
    std::int64_t revoked = 0;           ///< since; 0: it is not
  };
  static constexpr std::size_t certificates_max = 4;

  /// Of text(); `corrupt` with the line that is damaged.
  static result<node_book> parse(std::string_view text);
  std::string text() const;

  /// The one certificate of a node that the head starts itself.
  void set(const std::string& node, const std::string& site, const std::string& id);
  /// A node has joined with a token: nothing older counts, a revocation is over.
  void enrol(const std::string& node, const std::string& site, const std::string& id);
  /// A further certificate of a node that has one. Beyond certificates_max one of those between the
  /// first and this goes.
  void add(const std::string& node, const std::string& id);
  /// The node holds `id`: what is older is accepted until `until` at most. True if that is new;
  /// an id that is not accepted itself changes nothing.
  bool retire_before(const std::string& node, const std::string& id, std::int64_t until);
  /// Nothing of this node is accepted any more. not_found: nobody of that name has a certificate.
  result<void> revoke(const std::string& node, std::int64_t now);

  /// Whether certificate `id` lets `node` of `site` join.
  result<void> admits(const std::string& node, const std::string& site, const std::string& id,
                      std::int64_t now) const;
  const entry* find(const std::string& node) const;

 private:
  std::map<std::string, entry> nodes_;
};

}  // namespace collm::link
