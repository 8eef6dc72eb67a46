#include "actors/factors_fetch.hpp"

#include <algorithm>
#include <cstring>

#include "engine/adapter/adapter.hpp"
#include "messages/limits.hpp"
#include "store/digest.hpp"

namespace collm::actors {

namespace {

constexpr auto chunk_bytes = static_cast<std::uint32_t>(limits{}.chunk_bytes_max);
constexpr std::size_t kept_max = 3;  // serving, candidate, and the one before
constexpr auto answer_within = std::chrono::seconds(10);

}  // namespace

void factors_fetch::get(const version_id& id, const std::string& digest, taker then) {
  const auto kept =
      std::find_if(kept_.begin(), kept_.end(), [&](const auto& a) { return a->digest == digest; });
  if (kept != kept_.end()) return then(*kept);
  if (!from_) return then(error{errc::not_found, "no round made it that this node could ask for"});
  auto& t = coming_[digest];
  t.waiting.push_back(std::move(then));
  if (t.waiting.size() > 1) return;
  t.id = id;
  next_chunk(digest);
}

void factors_fetch::next_chunk(const std::string& digest) {
  const auto& t = coming_.at(digest);
  const auto wanted = msg<schema::FactorsWanted>::build([&](schema::FactorsWanted::Builder b) {
    b.setAdapter(t.id.name);
    b.setNumber(t.id.number);
    b.setAt(t.bytes.size());
    b.setCount(chunk_bytes);
  });
  self_->request(from_, answer_within, wanted)
      .then(
          [this, digest](const reply<msg<schema::FactorsChunk>>& r) {
            if (!*r) return end(digest, (*r).failure());
            take(digest, **r);
          },
          [this, digest](const caf::error&) {
            end(digest, error{errc::unavailable, "the head is away"});
          });
}

void factors_fetch::take(const std::string& digest, const msg<schema::FactorsChunk>& chunk) {
  auto& t = coming_.at(digest);
  const auto c = chunk.read();
  const auto data = c->getData();
  const bool other = !t.bytes.empty() && t.bytes_digest != c->getDigest().cStr();
  if (other || c->getTotal() > store::served_versions::factors_bytes_max || data.size() == 0 ||
      t.bytes.size() + data.size() > c->getTotal())
    return end(digest, error{errc::corrupt, "the head sent chunks that make no whole"});
  t.bytes_digest = c->getDigest().cStr();
  const auto* from = reinterpret_cast<const std::byte*>(data.begin());
  t.bytes.insert(t.bytes.end(), from, from + data.size());
  if (t.bytes.size() < c->getTotal()) return next_chunk(digest);
  if (store::digest_of(t.bytes) != t.bytes_digest)
    return end(digest, error{errc::corrupt, "its bytes arrived damaged"});
  end(digest, version_of(t.id.name, digest, t.bytes));
}

result<engine::adapter_ptr> factors_fetch::version_of(const std::string& adapter,
                                                      const std::string& digest,
                                                      std::span<const std::byte> bytes) const {
  if (bytes.size() % sizeof(float) != 0)
    return error{errc::corrupt, "its bytes are no whole numbers"};
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  auto made = with_factors_(adapter, values);
  if (made && (*made)->digest != digest)
    return error{errc::conflict, "its factors have digest " + (*made)->digest.substr(0, 12) +
                                     ", registered is " + digest.substr(0, 12)};
  return made;
}

void factors_fetch::end(const std::string& digest, const result<engine::adapter_ptr>& outcome) {
  auto done = coming_.extract(digest);
  if (outcome) {
    if (kept_.size() == kept_max) kept_.erase(kept_.begin());
    kept_.push_back(*outcome);
  }
  for (const auto& then : done.mapped().waiting) then(outcome);
}

}  // namespace collm::actors
