#include "actors/batch_source.hpp"

namespace collm::actors {

void batch_source::seek(data_cursor at) {
  waiting_.clear();
  next_ = at;
  taken_this_epoch_ = at.place;  // what came before was good
}

/// Enough for a whole batch, whatever the next sample's length.
bool batch_source::ready() const {
  std::size_t tokens = 0;
  for (const auto& w : waiting_) {
    tokens += w.sample.tokens.size();
    if (tokens >= batch_tokens_) return true;
  }
  return false;
}

batch_source::wanted batch_source::want() const {
  return {adapter_ + "/epoch " + std::to_string(next_.epoch), next_.place, rows_wanted};
}

result<void> batch_source::give(const std::vector<store::site_row>& rows) {
  for (const auto& row : rows) {
    const data_cursor at = next_;
    ++next_.place;
    auto sample = encode_(row);
    if (sample && sample->tokens.size() > batch_tokens_)
      sample = error{errc::too_large, "has more tokens than a batch"};
    if (!sample) {
      last_fault_ = sample.failure().message;
      continue;
    }
    ++taken_this_epoch_;
    waiting_.push_back({at, std::move(*sample)});
  }
  if (rows.size() == rows_wanted) return {};
  if (taken_this_epoch_ == 0)
    return error{errc::not_found, last_fault_.empty()
                                      ? "no sample to train on"
                                      : "no sample can be trained on: a sample " + last_fault_};
  next_ = {next_.epoch + 1, 0};
  taken_this_epoch_ = 0;
  return {};
}

std::vector<engine::training_sample> batch_source::take() {
  std::vector<engine::training_sample> out;
  std::size_t tokens = 0;
  while (!waiting_.empty()) {
    const auto more = waiting_.front().sample.tokens.size();
    if (!out.empty() && tokens + more > batch_tokens_) break;
    tokens += more;
    out.push_back(std::move(waiting_.front().sample));
    waiting_.pop_front();
  }
  return out;
}

}  // namespace collm::actors
