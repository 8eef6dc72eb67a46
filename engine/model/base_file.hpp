// The packed base's file: one header page block (magic, version, shape, vocabulary, sizes, digest
// over itself), then the image. Written once, atomically; mapped read-only by everyone. Any thread.
#pragma once

#include <filesystem>
#include <span>

#include "engine/model/packed_base.hpp"

namespace collm::engine {

/// "<digest>-<precision>-v5.base": the format version is part of the name, so an older file is left
/// alone.
std::string base_file_name(const std::string& digest, precision p);

/// Temporary file, fsync, rename: a reader sees the whole file or none.
result<void> write_base_file(const std::filesystem::path& path, const base_facts& facts,
                             std::span<const std::uint8_t> image);

/// Maps and checks a file; `corrupt` names it and says to remove it.
result<std::shared_ptr<const packed_base>> map_base_file(const std::filesystem::path& path);

}  // namespace collm::engine
