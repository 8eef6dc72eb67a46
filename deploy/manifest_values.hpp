// How single values of a manifest are spelled: sizes, durations, rates, addresses, names, words.
// Each parser gives the value or a message that says what would be right; where it stands is the
// reader's business. Pure; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "deploy/manifest.hpp"
#include "messages/result.hpp"

namespace collm::deploy {

/// The text of one scalar to a value.
template <class T>
using value_parser = std::function<result<T>(const std::string&)>;

/// "512Mi", "3Gi", "1500k", "4096": bytes within [least, most].
value_parser<std::uint64_t> bytes_between(std::uint64_t least, std::uint64_t most);
/// "2s", "120ms", "1.5m", "1h": milliseconds within [least, most].
value_parser<std::uint32_t> milliseconds_between(std::uint32_t least, std::uint32_t most);
/// A whole number within [least, most].
value_parser<std::uint32_t> whole_between(std::uint32_t least, std::uint32_t most);
/// A finite number within [least, most].
value_parser<double> real_between(double least, double most);
/// One of these numbers.
value_parser<double> one_of(std::vector<double> numbers);
/// "10/s", "600/min": requests a second, over 0.
value_parser<double> rate();
/// "true" or "false".
value_parser<bool> yes_or_no();
/// Any text that is not empty.
value_parser<std::string> any_text();
/// Lower-case letters, digits, inner "-": what can stand in file names, certificates and metric
/// labels.
value_parser<std::string> label();
/// Also capitals, "." and "_"; never "@", which separates name and version.
value_parser<std::string> adapter_name();
/// 64 hex digits, given back in lower case.
value_parser<std::string> sha256_hex();
/// An IP address with its port.
value_parser<address> any_address();
/// A DNS name or an IP address, without a port.
value_parser<std::string> host_name();
/// Stands for every address of a machine: to listen at, not to be reached at.
bool is_unspecified(const std::string& host);
/// One of `words`; `what` names the kind in the message ("placement").
value_parser<std::string> word_of(std::string what, std::vector<std::string> words);
/// "127.0.0.1:8080", "[::1]:8080", "localhost:8080"; refuses what is not loopback, with
/// `why_loopback`.
value_parser<address> loopback_address(std::string why_loopback);

bool is_loopback(const std::string& host);

/// The nearest of `known` if it is near enough to be meant; else empty. Distance: Levenshtein, case
/// ignored.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

/// "a, b, c"
std::string joined(const std::vector<std::string>& words);

/// 536870912 -> "512Mi"; to one decimal where it does not divide: "1.5Gi".
std::string bytes_text(std::uint64_t bytes);

}  // namespace collm::deploy
