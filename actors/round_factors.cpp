#include "actors/round_factors.hpp"

#include <algorithm>

#include "actors/round_messages.hpp"

namespace collm::actors {

namespace {
namespace fed = federation;
constexpr std::size_t open_max = fed::cohort_max;
// What serves, the candidate and what served before: nodes fetch them at the same time.
constexpr std::size_t versions_open_max = 3;
}  // namespace

result<store::blob_reader*> open_blobs::get(const std::string& digest) {
  for (auto& [name, blob] : open_)
    if (name == digest) return blob.get();
  auto blob = blobs_.read(digest);
  if (!blob) return blob.failure();
  if (open_.size() == open_max) open_.pop_front();
  open_.emplace_back(digest, std::make_unique<store::blob_reader>(std::move(*blob)));
  return open_.back().second.get();
}

result<void> blob_source::read(std::uint64_t at, std::span<float> out) {
  auto blob = blobs_.get(digest_);
  if (!blob) return blob.failure();
  if ((*blob)->bytes() != count_ * sizeof(float))
    return error{errc::corrupt, "blob " + digest_.substr(0, 12) + " holds " +
                                    std::to_string((*blob)->bytes()) + " bytes, not " +
                                    std::to_string(count_ * sizeof(float))};
  return (*blob)->read(at * sizeof(float), std::as_writable_bytes(out));
}

result<std::vector<float>> round_factors::stored(const std::string& digest) const {
  auto blob = deps_.blobs->read(digest);
  if (!blob) return blob.failure();
  const auto right = deps_.shape.count() * sizeof(float);
  if (blob->bytes() != right)
    return error{errc::corrupt, "blob " + digest.substr(0, 12) + " holds " +
                                    std::to_string(blob->bytes()) + " bytes, the adapter has " +
                                    std::to_string(right)};
  std::vector<float> out(deps_.shape.count());
  if (auto read = blob->read(0, std::as_writable_bytes(std::span(out))); !read)
    return read.failure();
  return out;
}

/// The digest of the blob with a version's factors; empty: no round made it.
result<std::string> round_factors::blob_of(const msg<schema::VersionRecord>& version,
                                           const round_book& book) {
  const auto v = version.read();
  const auto number = book.round_of_version(v->getNumber());
  const std::string source = v->getSource().cStr();
  if (number == 0 && made_by_round(source))
    return error{errc::corrupt, "version " + std::to_string(v->getNumber()) + " was made by " +
                                    source + ", whose journal cannot be read; roll it back"};
  if (number == 0) return std::string();
  const auto round = book.find(number);
  if (!round) return round.failure();
  return round->sum_digest();
}

result<std::vector<float>> round_factors::of(const msg<schema::VersionRecord>& version,
                                             const round_book& book) {
  const auto digest = blob_of(version, book);
  if (!digest) return digest.failure();
  if (!digest->empty()) return stored(*digest);
  auto made = deps_.factors_of(version);
  if (made && made->size() != deps_.shape.count())
    return error{errc::conflict, "version " + std::to_string(version.read()->getNumber()) +
                                     " has " + std::to_string(made->size()) +
                                     " factors, the adapter that learns " +
                                     std::to_string(deps_.shape.count())};
  return made;
}

result<fed::aggregate> round_factors::sum(const fed::training_round& round,
                                          std::span<const float> parent,
                                          const std::string& without) const {
  open_blobs open(*deps_.blobs);
  std::vector<std::unique_ptr<blob_source>> sources;
  std::vector<fed::summand> summands;
  for (const auto& u : round.accepted()) {
    if (u.client == without) continue;
    fed::update_header ranks;
    ranks.ranks = u.ranks;
    auto shape = fed::shape_of(ranks, deps_.shape);
    if (!shape) return shape.failure();
    const auto count = shape->count(round.setup().trained);
    sources.push_back(std::make_unique<blob_source>(open, u.digest, count));
    summands.push_back({u.digest, u.tokens, u.staleness, std::move(*shape), sources.back().get()});
  }
  return fed::aggregate_updates(deps_.how, deps_.shape, round.setup().trained, parent,
                                std::move(summands));
}

result<round_factors::opened*> round_factors::open(const msg<schema::VersionRecord>& version,
                                                   const round_book& book) {
  const auto v = version.read();
  const std::string named = v->getDigest().cStr();
  for (auto& o : opened_)
    if (o.number == v->getNumber() && o.version_digest == named) return &o;
  auto digest = blob_of(version, book);
  if (!digest) return digest.failure();
  if (digest->empty()) {
    const auto factors = of(version, book);
    if (!factors) return factors.failure();
    digest = store(*factors);
    if (!digest) return digest.failure();
  }
  auto blob = deps_.blobs->read(*digest);
  if (!blob) return blob.failure();
  if (opened_.size() == versions_open_max) opened_.pop_front();
  opened_.push_back({v->getNumber(), named, *digest, std::move(*blob)});
  return &opened_.back();
}

result<round_factors::part> round_factors::read(const msg<schema::VersionRecord>& version,
                                                const round_book& book, std::uint64_t at,
                                                std::uint64_t count) {
  auto from = open(version, book);
  if (!from) return from.failure();
  part p{(*from)->digest, (*from)->blob.bytes(), {}};
  if (at > p.total)
    return error{errc::bad_request, "the version has " + std::to_string(p.total) + " bytes, not " +
                                        std::to_string(at)};
  p.bytes.resize(std::min(count, p.total - at));
  if (auto read = (*from)->blob.read(at, p.bytes); !read) return read.failure();
  return p;
}

}  // namespace collm::actors
