#include "link/outcome.hpp"

#include <charconv>
#include <optional>

namespace collm::link {
namespace {

constexpr std::string_view remote_prefix = "remote exception: ";  // Cap'n Proto's own, one a hop
constexpr std::string_view retry_mark = "; retry after ";
constexpr std::string_view retry_unit = " ms";

std::optional<errc> find_code(std::string_view name) {
  for (int i = 0; i <= static_cast<int>(errc::internal); ++i) {
    if (to_string(static_cast<errc>(i)) == name) return static_cast<errc>(i);
  }
  return std::nullopt;
}

/// Cuts "; retry after N ms" off the end.
std::uint32_t take_retry(std::string_view& text) {
  const auto at = text.rfind(retry_mark);
  if (at == text.npos || !text.ends_with(retry_unit)) return 0;
  auto digits = text.substr(at + retry_mark.size());
  digits.remove_suffix(retry_unit.size());
  std::uint32_t value = 0;
  const auto [end, failed] = std::from_chars(digits.begin(), digits.end(), value);
  if (failed != std::errc() || end != digits.end()) return 0;
  text = text.substr(0, at);
  return value;
}

void fill(schema::Failure::Builder to, const error& e) {
  to.setCode(std::string(to_string(e.code)).c_str());
  to.setMessage(e.message.c_str());
  to.setRetryAfterMs(e.retry_after_ms);
}

/// Of a union that holds neither its value nor anything that this build knows: a failure too.
template <class Reader>
error failure_of(Reader from) {
  if (!from.isFailure()) return {errc::corrupt, "the answer is of a kind that is not known here"};
  const auto failure = from.getFailure();
  return {code_named(failure.getCode().cStr()), failure.getMessage().cStr(),
          failure.getRetryAfterMs()};
}

}  // namespace

std::string to_text(const error& e) {
  std::string text = std::string(to_string(e.code)) + ": " + e.message;
  if (e.retry_after_ms > 0) {
    text += std::string(retry_mark) + std::to_string(e.retry_after_ms) + std::string(retry_unit);
  }
  return text;
}

kj::Exception to_exception(const error& e) {
  const bool later = e.code == errc::overloaded || e.code == errc::rate_limited;
  const auto type = later ? kj::Exception::Type::OVERLOADED : kj::Exception::Type::FAILED;
  return kj::Exception(type, "link", 0, kj::heapString(to_text(e).c_str()));
}

error from_exception(const kj::Exception& e, errc unknown) {
  std::string_view text(e.getDescription().cStr());
  while (text.starts_with(remote_prefix)) text.remove_prefix(remote_prefix.size());
  if (const auto colon = text.find(": "); colon != text.npos) {
    if (auto code = find_code(text.substr(0, colon))) {
      text.remove_prefix(colon + 2);
      const auto retry = take_retry(text);
      return {*code, std::string(text), retry};
    }
  }
  if (e.getType() == kj::Exception::Type::DISCONNECTED) {
    return {errc::unavailable, "the connection was lost (" + std::string(text) + ")"};
  }
  return {unknown, std::string(text)};
}

errc code_named(std::string_view name) { return find_code(name).value_or(errc::internal); }

msg<schema::Reject> make_reject(std::uint64_t request, const error& e) {
  return msg<schema::Reject>::build([&](schema::Reject::Builder to) {
    to.setRequest(request);
    to.setCode(std::string(to_string(e.code)).c_str());
    to.setMessage(e.message.c_str());
    to.setRetryAfterMs(e.retry_after_ms);
  });
}

msg<schema::Finish> make_finish(std::uint64_t request, schema::FinishReason reason,
                                const std::string& message) {
  return msg<schema::Finish>::build([&](schema::Finish::Builder to) {
    to.setRequest(request);
    to.setReason(reason);
    to.setMessage(message.c_str());
  });
}

void fill(schema::LoadResult::Builder to, const result<msg<schema::VersionRecord>>& outcome) {
  outcome ? to.setRecord(*outcome->read()) : fill(to.initFailure(), outcome.failure());
}

void fill(schema::Outcome::Builder to, const result<void>& outcome) {
  outcome ? to.setDone() : fill(to.initFailure(), outcome.failure());
}

void fill(schema::WorkResult::Builder to, const result<msg<schema::Work>>& outcome) {
  outcome ? to.setWork(*outcome->read()) : fill(to.initFailure(), outcome.failure());
}

void fill(schema::UploadResult::Builder to, const result<msg<schema::UploadPlace>>& outcome) {
  outcome ? to.setPlace(*outcome->read()) : fill(to.initFailure(), outcome.failure());
}

void fill(schema::FactorsResult::Builder to, const result<msg<schema::FactorsChunk>>& outcome) {
  outcome ? to.setChunk(*outcome->read()) : fill(to.initFailure(), outcome.failure());
}

void fill(schema::JobResult::Builder to, const result<msg<schema::Job>>& outcome) {
  outcome ? to.setJob(*outcome->read()) : fill(to.initFailure(), outcome.failure());
}

void fill(schema::JobListResult::Builder to, const result<msg<schema::JobList>>& outcome) {
  outcome ? to.setList(*outcome->read()) : fill(to.initFailure(), outcome.failure());
}

void fill(schema::RenewResult::Builder to, const result<std::string>& certificate) {
  certificate ? to.setCertificate(*certificate) : fill(to.initFailure(), certificate.failure());
}

result<std::string> from_wire(schema::RenewResult::Reader from) {
  if (from.isCertificate()) return std::string(from.getCertificate().cStr());
  return failure_of(from);
}

result<msg<schema::VersionRecord>> from_wire(schema::LoadResult::Reader from) {
  if (from.isRecord())
    return msg<schema::VersionRecord>::copy_of(from.getRecord(), limits{}.word_bytes_max);
  return failure_of(from);
}

result<void> from_wire(schema::Outcome::Reader from) {
  if (from.isDone()) return {};
  return failure_of(from);
}

result<msg<schema::Work>> from_wire(schema::WorkResult::Reader from) {
  if (from.isWork()) return msg<schema::Work>::copy_of(from.getWork());
  return failure_of(from);
}

result<msg<schema::UploadPlace>> from_wire(schema::UploadResult::Reader from) {
  if (from.isPlace()) return msg<schema::UploadPlace>::copy_of(from.getPlace());
  return failure_of(from);
}

result<msg<schema::FactorsChunk>> from_wire(schema::FactorsResult::Reader from) {
  if (from.isChunk()) return msg<schema::FactorsChunk>::copy_of(from.getChunk());
  return failure_of(from);
}

result<msg<schema::Job>> from_wire(schema::JobResult::Reader from) {
  if (from.isJob()) return msg<schema::Job>::copy_of(from.getJob());
  return failure_of(from);
}

result<msg<schema::JobList>> from_wire(schema::JobListResult::Reader from) {
  if (from.isList()) return msg<schema::JobList>::copy_of(from.getList());
  return failure_of(from);
}

}  // namespace collm::link
