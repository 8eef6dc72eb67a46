// Inputs of link_session_fuzz.cpp: conversations as a client and as nodes lead them, with messages
// put in, left out, spoilt in their fields, exchanged and changed in their bytes.
#include <cmath>
#include <limits>
#include <random>

#include "messages/assert.hpp"
#include "tests/fuzz/fuzz_main.hpp"
#include "tests/fuzz/link_session_talk.hpp"

namespace collm::fuzz {
namespace {

using random_source = std::mt19937;

/// What a peer may say that means harm: by chance, mostly near what is right.
class improviser {
 public:
  explicit improviser(random_source& random) : random_(random) {}

  /// As the good one begins, with lines of the same kind in place of some and more between them.
  std::string stream(const peer& as, const conversation& good) {
    questions_ = questions_before;
    std::vector<std::string> said;
    const auto lines = 1 + below(below(2) == 0 ? good.size() + 1 : good.size() * 2);
    for (std::size_t i = 0; i < std::min<std::size_t>(lines, good.size()); ++i) {
      const bool same = !good[i].other || below(8) > 0;
      said.push_back(same ? good[i].plain : good[i].other(below(4), spoilt()));
      while (i > 0 && below(12) == 0) said.push_back(something(as));
    }
    for (auto n = below(6); n > 0; --n) said.push_back(something(as));
    if (below(3) == 0) rearrange(said);
    std::string all;
    for (const auto& one : said) all += one;
    if (below(3) == 0) change_bytes(all);
    return all;
  }

 private:
  static constexpr std::uint32_t questions_before = 100;  // more than a good one has

  std::uint32_t below(std::size_t most) { return static_cast<std::uint32_t>(random_() % most); }
  /// A capability of the other side, or a question of it.
  std::uint32_t some_id() { return below(12) == 0 ? random_() : below(9); }
  std::uint32_t new_question() { return below(16) == 0 ? some_id() : questions_++; }
  std::uint32_t old_question() {
    const auto asked = questions_ - questions_before;
    return asked == 0 || below(8) == 0 ? some_id() : questions_ - 1 - below(asked);
  }
  change spoilt() {
    return [this](capnp::DynamicStruct::Builder params) {
      for (auto n = below(3); n > 0; --n) spoil(params);
    };
  }

  std::string something(const peer& as) {
    const auto kind = below(24);
    if (kind < 10) return own_call(as);
    if (kind < 13)
      return call(new_question(), {2 + below(2), -1, true}, method_of<schema::TokenSink>(below(2)),
                  as, below(3), spoilt());
    if (kind < 17) return any_call(as);
    if (kind == 17) return any_answer(as);
    return any_message([this, kind](rpc::Message::Builder to) {
      if (kind == 18) {
        auto made = to.initRelease();
        made.setId(some_id());
        made.setReferenceCount(below(3));
      } else if (kind < 21) {
        auto made = to.initFinish();
        made.setQuestionId(old_question());
        made.setReleaseResultCaps(below(2));
      } else if (kind == 21) {
        put_resolve(to.initResolve());
      } else if (kind == 22) {
        put_disembargo(to.initDisembargo());
      } else {
        put_rare(to);
      }
    });
  }

  template <class Fill>
  std::string any_message(Fill&& fill_message) {
    return message(std::forward<Fill>(fill_message), below(4) == 0 ? 4 + below(40) : 1024);
  }

  std::string own_call(const peer& as) {
    const auto what = as.who == speaks::client ? method_of<schema::Gateway>(random_())
                                               : method_of<schema::Session>(random_());
    return call(new_question(), as.who == speaks::client ? bootstrap_answer : session, what, as,
                below(4), spoilt());
  }

  method any_method() {
    switch (below(5)) {
      case 0:
        return method_of<schema::Gateway>(random_());
      case 1:
        return method_of<schema::Head>(random_());
      case 2:
        return method_of<schema::Node>(random_());
      case 3:
        return method_of<schema::TokenSink>(random_());
      default:
        return method_of<schema::Session>(random_());
    }
  }

  /// Of any method, to any target, with parameters of that method or another, and any capabilities.
  std::string any_call(const peer& as) {
    return any_message([&](rpc::Message::Builder to) {
      const auto what = any_method();
      auto made = to.initCall();
      made.setQuestionId(new_question());
      put_target(made.initTarget());
      made.setInterfaceId(below(8) == 0 ? random_()
                                        : what.getContainingInterface().getProto().getId());
      made.setMethodId(static_cast<std::uint16_t>(below(8) == 0 ? random_() : what.getIndex()));
      if (below(6) == 0) made.getSendResultsTo().setYourself();
      if (below(12) == 0) made.getSendResultsTo().initThirdParty();
      const auto of = below(4) == 0 ? any_method() : what;
      put_struct(made.getParams(), of.getParamType(), below(4), as, spoilt());
      put_capabilities_of(made.getParams());
    });
  }

  std::string any_answer(const peer& as) {
    return any_message([&](rpc::Message::Builder to) {
      auto made = to.initReturn();
      const auto question = some_id();
      made.setAnswerId(question);
      made.setReleaseParamCaps(below(2));
      switch (below(10)) {
        case 0:
          put_exception(made.initException());
          break;
        case 1:
          made.setCanceled();
          break;
        case 2:
          made.setResultsSentElsewhere();
          break;
        case 3:
          made.setTakeFromOtherQuestion(some_id());
          break;
        case 4:
          made.initAcceptFromThirdParty();
          break;
        default:
          const auto of = method_of<schema::Node>(
              question < std::size(head_asks) ? head_asks[question] : random_());
          put_struct(made.initResults(), of.getResultType(), below(4), as, spoilt());
          put_capabilities_of(made.getResults());
      }
    });
  }

  void put_target(rpc::MessageTarget::Builder to) {
    if (below(2) == 0) return to.setImportedCap(below(8) == 0 ? some_id() : below(4));
    put_promised(to.initPromisedAnswer());
  }
  void put_promised(rpc::PromisedAnswer::Builder to) {
    to.setQuestionId(below(2) == 0 ? below(2) : old_question());
    auto operations = to.initTransform(below(4));
    for (auto one : operations)
      below(3) == 0 ? one.setNoop() : one.setGetPointerField(static_cast<std::uint16_t>(below(4)));
  }
  void put_capabilities_of(rpc::Payload::Builder to) {
    auto table = to.initCapTable(below(16) == 0 ? below(9) : below(3));
    for (auto one : table) put_descriptor(one);
  }
  void put_descriptor(rpc::CapDescriptor::Builder to) {
    if (below(16) == 0) to.setAttachedFd(static_cast<std::uint8_t>(below(3)));
    switch (below(6)) {
      case 0:
        return to.setSenderHosted(some_id());
      case 1:
        return to.setSenderPromise(some_id());
      case 2:
        return to.setReceiverHosted(below(6));
      case 3:
        return put_promised(to.initReceiverAnswer());
      case 4: {
        auto third = to.initThirdPartyHosted();
        return third.setVineId(some_id());
      }
      default:
        return to.setNone();
    }
  }
  void put_resolve(rpc::Resolve::Builder to) {
    to.setPromiseId(some_id());
    below(4) == 0 ? put_exception(to.initException()) : put_descriptor(to.initCap());
  }
  void put_disembargo(rpc::Disembargo::Builder to) {
    put_target(to.initTarget());
    switch (below(4)) {
      case 0:
        return to.getContext().setSenderLoopback(some_id());
      case 1:
        return to.getContext().setReceiverLoopback(some_id());
      case 2:
        return to.getContext().setAccept();
      default:
        return to.getContext().setProvide(some_id());
    }
  }
  void put_exception(rpc::Exception::Builder to) {
    constexpr const char* reasons[] = {
        "", "overloaded: wait; retry after 99999999999 ms", "remote exception: not_found: x",
        "corrupt: \x01\xff; retry after 7 ms", "remote exception: remote exception: "};
    to.setReason(reasons[below(std::size(reasons))]);
    to.setType(static_cast<rpc::Exception::Type>(below(6)));
  }
  void put_rare(rpc::Message::Builder to) {
    switch (below(10)) {
      case 0:
        return put_exception(to.initAbort());
      case 1:
        return to.initBootstrap().setQuestionId(new_question());
      case 2: {
        auto provide = to.initProvide();
        provide.setQuestionId(new_question());
        return put_target(provide.initTarget());
      }
      case 3:
        return to.initAccept().setQuestionId(new_question());
      case 4: {
        auto join = to.initJoin();
        join.setQuestionId(new_question());
        return put_target(join.initTarget());
      }
      case 5:
        return to.getObsoleteSave().setAs<capnp::Text>("old");
      case 6:
        return to.getObsoleteDelete().setAs<capnp::Text>("old");
      default:
        return put_unimplemented(to);
    }
  }
  /// Of one of ours, or of one within another.
  void put_unimplemented(rpc::Message::Builder to) {
    auto inner = to.initUnimplemented();
    for (auto n = below(8) == 0 ? below(30) : 0; n > 0; --n) inner = inner.initUnimplemented();
    switch (below(4)) {
      case 0:
        return put_resolve(inner.initResolve());
      case 1:
        return put_disembargo(inner.initDisembargo());
      case 2:
        return inner.initFinish().setQuestionId(some_id());
      default:
        inner.initCall().setQuestionId(some_id());
        return put_target(inner.getCall().initTarget());
    }
  }

  /// Sets one value somewhere in it to what is seldom right.
  void spoil(capnp::DynamicStruct::Builder to) {
    const auto fields = fields_of(to);
    if (fields.empty()) return;
    const auto field = fields[below(fields.size())];
    const auto type = field.getType();
    if (field.getProto().isGroup() || type.isStruct())
      return spoil(to.get(field).as<capnp::DynamicStruct>());
    if (type.isText()) return to.set(field, some_text().c_str());
    if (type.isData()) {
      to.init(field, below(200) == 0 ? (1u << 20) + below(3) - 1 : below(5000));
    } else if (type.isList()) {
      const bool structs = type.asList().getElementType().isStruct();
      constexpr unsigned counts[] = {0, 1, 1024, 1025};
      to.init(field, structs ? counts[below(4)] : counts[below(4)] * 4 + below(2));
    } else if (type.isEnum()) {
      to.set(field, capnp::DynamicEnum(type.asEnum(), static_cast<std::uint16_t>(random_())));
    } else if (type.isFloat32() || type.isFloat64()) {
      constexpr double values[] = {-1, 0, 11, 3e38, std::numeric_limits<double>::infinity(), NAN};
      to.set(field, values[below(std::size(values))]);
    } else if (type.isBool()) {
      to.set(field, below(2) == 0);
    } else if (!type.isInterface() && !type.isAnyPointer() && !type.isVoid()) {
      put_number(to, field);
    }
  }
  void put_number(capnp::DynamicStruct::Builder to, capnp::StructSchema::Field field) {
    const bool large = field.getType().isUInt64();
    const bool small = field.getType().isUInt16() || field.getType().isInt16();
    constexpr std::uint64_t values[] = {0, 1, 17, 0x7fff, 0x7fff'ffff, ~std::uint64_t{0}};
    to.set(field, values[below(large ? 6 : small ? 4 : 5)]);
  }
  std::string some_text() {
    constexpr const char* texts[] = {"edge-b", "edge-b/0",  "yard",    "kitchen",  "edge-a/00",
                                     "silent", "assistant", "ftjob-1", "ftjob-2",  "head",
                                     "held",   "missing",   "flood",   "too long", "a\x01z"};
    constexpr unsigned sizes[] = {0, 64, 65, 255, 256, 257, 4095, 4096, 4097, 70'000};
    if (below(2) == 0) return texts[below(std::size(texts))];
    return std::string(sizes[below(std::size(sizes))], "a\xff"[below(4) == 0]);
  }

  void rearrange(std::vector<std::string>& said) {
    auto& one = said[below(said.size())];
    auto& other = said[below(said.size())];
    switch (below(4)) {
      case 0:
        return std::swap(one, other);
      case 1:
        one += other;
        return;
      case 2:
        one.clear();
        return;
      default:
        for (auto n = below(40); n > 0; --n) one += static_cast<char>(random_());
    }
  }
  void change_bytes(std::string& all) {
    if (all.empty()) return;
    for (auto n = 1 + below(5); n > 0; --n)
      all[below(all.size())] = static_cast<char>(below(2) == 0 ? below(4) : random_());
    if (below(8) == 0) all.resize(below(all.size() + 1));
  }

  random_source& random_;
  std::uint32_t questions_ = questions_before;
};

/// What each conversation is for has been reached.
void check_reached() {
  for (const char* what : {"answer to drain",
                           "answer to load",
                           "answer to unload",
                           "answer to versions",
                           "beat",
                           "cancelJob",
                           "createJob",
                           "credit",
                           "event",
                           "factors",
                           "generate",
                           "jobs",
                           "join",
                           "models",
                           "register",
                           "renew",
                           "request finished",
                           "retire",
                           "scores",
                           "shadow",
                           "sink accepted",
                           "sink put",
                           "told: abort",
                           "upload",
                           "versions"})
    COLLM_ASSERT(reached().contains(what));
}

}  // namespace

void drive(void (&run)(const std::string& bytes), std::uint32_t seed) {
  static const std::vector<peer> peers = {make_peer(speaks::client), make_peer(speaks::own_node),
                                          make_peer(speaks::elsewhere)};
  static const std::vector<conversation> good = {good_one(peers[0]), good_one(peers[1]),
                                                 good_one(peers[2])};
  for (std::size_t i = 0; i < peers.size(); ++i) {
    for (const bool at_once : {false, true})
      run(first_byte(peers[i].who, at_once) + plain(good[i]));
    run(first_byte(peers[i].who, true) + plain(impatient(peers[i])));
  }
  check_reached();
  random_source random(15 + seed);
  improviser one_of_them(random);
  for (int i = 0; i < 500; ++i) {
    const auto who = random() % peers.size();
    const bool at_once = random() % 8 == 0;
    run(first_byte(peers[who].who, at_once) + one_of_them.stream(peers[who], good[who]));
  }
}

}  // namespace collm::fuzz
