// SHA-256 of bytes, as lower-case hex. Any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace collm::engine {
std::string sha256_hex(std::span<const std::uint8_t> bytes);
}
