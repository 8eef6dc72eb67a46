#include "actors/shadow_checkpoints.hpp"

namespace collm::actors {

result<store::found_checkpoint> shadow_checkpoints::look_back() {
  if (looked_back_) return store::found_checkpoint{};
  auto found = files_->load(shadow_);
  if (!found) return found;
  looked_back_ = true;
  if (found->newest) {
    next_ = found->newest->step + 1;
  } else if (auto gone = files_->forget(shadow_); !gone) {
    return gone.failure();  // damaged ones would count as newer than what comes
  }
  return found;
}

result<void> shadow_checkpoints::save(std::string note, std::span<const std::uint8_t> bytes) {
  store::checkpoint c{.step = next_++, .note = std::move(note), .bytes = {}};
  const auto raw = std::as_bytes(bytes);
  c.bytes.assign(raw.begin(), raw.end());
  return files_->save(shadow_, c);
}

}  // namespace collm::actors
