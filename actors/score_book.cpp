#include "actors/score_book.hpp"

namespace collm::actors {

namespace {

constexpr std::size_t versions_max = 3;  // candidate, serving, and the one before

}  // namespace

const score_book::by_sample* score_book::find(const std::string& version) const {
  for (const auto& [name, scores] : known_)
    if (name == version) return &scores;
  return nullptr;
}

std::vector<named_sample> score_book::missing(const std::string& version,
                                              const named_samples& all) const {
  const auto* known = find(version);
  std::vector<named_sample> out;
  for (const auto& s : *all)
    if (known == nullptr || !known->contains(s.id)) out.push_back(s);
  return out;
}

void score_book::note(const std::string& version, const std::vector<named_sample>& samples,
                      const std::vector<engine::sequence_score>& scores) {
  if (find(version) == nullptr) {
    if (known_.size() == versions_max) known_.erase(known_.begin());
    known_.emplace_back(version, by_sample());
  }
  for (auto& [name, known] : known_) {
    if (name != version) continue;
    for (std::size_t i = 0; i < samples.size(); ++i) known[samples[i].id] = scores[i].cross_entropy;
  }
}

std::vector<double> score_book::of(const std::string& version, const named_samples& all) const {
  std::vector<double> out;
  if (all->empty()) return out;
  const auto* known = find(version);
  for (const auto& s : *all) out.push_back(known->at(s.id));
  return out;
}

}  // namespace collm::actors
