// Where a shadow stands in its data and its task, kept on the disk over restarts. No actor; owner:
// the shadow.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "store/checkpoint_store.hpp"

namespace collm::actors {

class shadow_checkpoints {
 public:
  shadow_checkpoints(std::shared_ptr<store::checkpoint_store> files, std::string shadow)
      : files_(std::move(files)), shadow_(std::move(shadow)) {}

  /// What an earlier life left, or this one before it lost its trainer: told once, however the
  /// trainer of now came to be. What is saved from here on counts as newer.
  result<store::found_checkpoint> look_back();
  /// The trainer is lost: the last checkpoint is the truth again.
  void lost() { looked_back_ = false; }
  result<void> save(std::string note, std::span<const std::uint8_t> bytes);

 private:
  std::shared_ptr<store::checkpoint_store> files_;
  std::string shadow_;
  bool looked_back_ = false;
  std::uint64_t next_ = 0;  ///< number of the next one; rises over restarts
};

}  // namespace collm::actors
