// Any bytes on an open RPC connection, of a client of the native port or of a node with a valid
// certificate, whose messages come one by one or all together. The peer reaches what its role
// allows, with values within their bounds; whoever asked it something has an answer; when it hangs
// up nothing is left of it, and a good client and an honest node are served before and after.
#include "tests/fuzz/link_session_fuzz.hpp"

#include <capnp/rpc.capnp.h>
#include <capnp/serialize.h>

#include <optional>
#include <span>

#include "messages/msg.hpp"
#include "tests/fuzz/link_session_gateway.hpp"
#include "tests/fuzz/link_session_head.hpp"

namespace collm::fuzz {
namespace {

/// What was said to the peer are messages, each a whole one.
void judge_heard(std::string_view stream) {
  static constexpr const char* names[] = {"results", "exception", "canceled", "elsewhere", "other"};
  while (!stream.empty()) {
    const auto bytes = first_message(stream);
    stream.remove_prefix(bytes.size());
    const auto words = take_bytes(std::as_bytes(std::span(bytes)), limits{});
    COLLM_ASSERT(words);
    const auto good = guard([&] {
      capnp::FlatArrayMessageReader reader(
          kj::ArrayPtr<const capnp::word>((*words)->words.get(), (*words)->count));
      const auto message = reader.getRoot<capnp::rpc::Message>();
      if (message.isAbort()) ++reached()["told: abort"];
      if (message.isUnimplemented()) ++reached()["told: unimplemented"];
      if (message.isDisembargo()) ++reached()["told: disembargo"];
      if (message.isResolve()) ++reached()["told: resolve"];
      if (!message.isReturn()) return;
      const auto which = static_cast<unsigned>(message.getReturn().which());
      ++reached()[std::string("told: return of ") + names[std::min(which, 4u)]];
      if (bytes.find("-----BEGIN CERTIFICATE-----") != bytes.npos) ++reached()["renew"];
    });
    COLLM_ASSERT(good);
  }
}

/// One for the whole process, and as long as it lives.
class target {
 public:
  void visit(speaks who, bool at_once, std::string_view stream) {
    stage_.run([&] {
      peer_.emplace(stage_, who == speaks::client ? native_.connect()
                                                  : head_.visit(who == speaks::elsewhere));
    });
    stage_.settle();
    for (unsigned said = 0; !stream.empty() && !peer_->ended(); ++said) {
      const auto next = at_once || said == said_apart_max ? stream : first_message(stream);
      stream.remove_prefix(next.size());
      stage_.run([&] { peer_->say(next); });
      stage_.settle();
      if (who != speaks::client) head_.rotate();
    }
    stage_.settle();
    stage_.run([&] {
      judge_heard(peer_->heard());
      peer_.reset();
    });
    stage_.settle();
    if (who == speaks::client) native_.check_left();
    if (who != speaks::client) head_.check_left();
    // They share the loop, but not each other's fate.
    const bool all = ++visits_ % thorough_each == 0;
    if (all || who == speaks::client) native_.check_good(all);
    if (all || who != speaks::client) head_.check_good(all);
  }

 private:
  static constexpr unsigned thorough_each = 8;
  static constexpr unsigned said_apart_max = 200;  // zeros are a message every eight bytes

  stage stage_;
  gateway_rig native_{stage_};
  head_rig head_{stage_};
  std::optional<wire> peer_;
  unsigned visits_ = 0;
};

}  // namespace

std::map<std::string, std::uint64_t>& reached() {
  static std::map<std::string, std::uint64_t> all;
  return all;
}

std::string signing_request() {
  const auto key = taken(link::x509::make_key());
  return taken(link::x509::make_request(key.get()));
}

}  // namespace collm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace collm::fuzz;
  if (size == 0) return 0;
  static auto& all = *new target;  // CAF is gone when statics end
  const auto how = data[0] % (2 * speakers);
  all.visit(static_cast<speaks>(how % speakers), how >= speakers,
            {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}
