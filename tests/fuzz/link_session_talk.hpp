// For link_session_fuzz's driver: messages of capnp/rpc.capnp, and the conversations that a client
// of the native port and a node lead with them.
#pragma once

#include <capnp/capability.h>
#include <capnp/rpc.capnp.h>
#include <capnp/serialize.h>

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "messages/link.capnp.h"
#include "tests/fuzz/link_session_fuzz.hpp"
#include "tests/fuzz/message_fill.hpp"

namespace collm::fuzz {

namespace rpc = capnp::rpc;
using method = capnp::InterfaceSchema::Method;

// -- what a well-meaning peer says

struct peer {
  speaks who;
  std::map<std::string, std::string> texts = {};  ///< by the name of a field
};

inline peer make_peer(speaks who) {
  const bool elsewhere = who == speaks::elsewhere;
  const std::string node = elsewhere ? "edge-c" : "edge-a";
  return {who,
          {{"name", node},
           {"node", node},
           {"replica", node + "/0"},
           {"client", node + "/0"},
           {"site", elsewhere ? "yard" : "kitchen"},
           {"owner", elsewhere ? "gardener" : "cook"},
           {"id", elsewhere ? "ftjob-2" : "ftjob-1"},
           {"adapter", "assistant"},
           {"baseDigest", "base-1"},
           {"tokenizerDigest", "words-1"},
           {"role", "user"},
           {"request", signing_request()}}};
}

inline const std::map<std::string, double>& right_numbers() {
  static const std::map<std::string, double> all = {
      {"protocol", 1},         {"incarnation", 2},       {"temperature", 0.5},   {"topP", 0.5},
      {"minP", 0.5},           {"repetitionPenalty", 1}, {"presencePenalty", 0}, {"logprobs", 2},
      {"frequencyPenalty", 0}, {"choices", 1},           {"maxTokens", 18},      {"request", 101},
      {"atStart", 1}};
  return all;
}

inline std::vector<capnp::StructSchema::Field> fields_of(capnp::DynamicStruct::Builder of) {
  std::vector<capnp::StructSchema::Field> out;
  for (auto field : of.getSchema().getNonUnionFields()) out.push_back(field);
  KJ_IF_MAYBE (member, of.which()) out.push_back(*member);
  return out;
}

/// Fields as a peer of that name sets them; others stay.
inline void put_right(capnp::DynamicStruct::Builder to, const peer& as) {
  for (auto field : fields_of(to)) {
    const std::string name = field.getProto().getName().cStr();
    const auto type = field.getType();
    if (field.getProto().isGroup() || type.isStruct()) {
      put_right(to.get(field).as<capnp::DynamicStruct>(), as);
    } else if (type.isList() && type.asList().getElementType().isStruct()) {
      auto list = to.get(field).as<capnp::DynamicList>();
      for (unsigned i = 0; i < list.size(); ++i) put_right(list[i].as<capnp::DynamicStruct>(), as);
    } else if (type.isText() && as.texts.contains(name)) {
      to.set(field, as.texts.at(name).c_str());
    } else if (type.isData() && as.texts.contains(name)) {
      const auto& bytes = as.texts.at(name);
      to.set(field,
             capnp::Data::Reader(reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()));
    } else if (const auto found = right_numbers().find(name);
               found != right_numbers().end() && !type.isText() && !type.isData()) {
      if (type.isBool())
        to.set(field, found->second != 0);
      else
        to.set(field, found->second);
    }
  }
}

// -- messages

struct reference {
  std::uint32_t question = 0;
  int field = -1;         ///< of its answer; -1: the answer itself
  bool imported = false;  ///< `question` is the id of a capability instead
};
inline constexpr reference bootstrap_answer{0}, session{1, 0};

inline void set(rpc::MessageTarget::Builder to, const reference& what) {
  if (what.imported) return to.setImportedCap(what.question);
  auto answer = to.initPromisedAnswer();
  answer.setQuestionId(what.question);
  if (what.field >= 0)
    answer.initTransform(1)[0].setGetPointerField(static_cast<std::uint16_t>(what.field));
}

/// Sets every capability in `params` to one that the table around it will describe.
inline void put_capabilities(capnp::DynamicStruct::Builder params) {
  for (auto field : params.getSchema().getNonUnionFields()) {
    if (!field.getType().isInterface()) continue;
    params.set(field, capnp::Capability::Client(capnp::newBrokenCap("never called"))
                          .castAs<capnp::DynamicCapability>(field.getType().asInterface()));
  }
}

template <class Fill>
std::string message(Fill&& fill_message, unsigned first_segment_words = 1024) {
  capnp::MallocMessageBuilder builder(
      first_segment_words, first_segment_words < 1024 ? capnp::AllocationStrategy::FIXED_SIZE
                                                      : capnp::SUGGESTED_ALLOCATION_STRATEGY);
  fill_message(builder.initRoot<rpc::Message>());
  const auto flat = capnp::messageToFlatArray(builder);
  return {flat.asChars().begin(), flat.asChars().size()};
}

/// What is done to parameters or results that were right.
using change = std::function<void(capnp::DynamicStruct::Builder)>;
inline void nothing(capnp::DynamicStruct::Builder) {}

inline void put_struct(rpc::Payload::Builder to, capnp::StructSchema type, unsigned variant,
                       const peer& as, const change& by) {
  capnp::BuilderCapabilityTable table;
  auto made = table.imbue(to.getContent()).initAs<capnp::DynamicStruct>(type);
  fill(made, variant);
  put_right(made, as);
  put_capabilities(made);
  by(made);
}

inline std::string call(std::uint32_t question, const reference& on, method what, const peer& as,
                        unsigned variant, const change& by) {
  return message([&](rpc::Message::Builder to) {
    auto made = to.initCall();
    made.setQuestionId(question);
    set(made.initTarget(), on);
    made.setInterfaceId(what.getContainingInterface().getProto().getId());
    made.setMethodId(static_cast<std::uint16_t>(what.getIndex()));
    put_struct(made.getParams(), what.getParamType(), variant, as, by);
    made.getParams().initCapTable(1)[0].setSenderHosted(0);
  });
}

inline std::string answer(std::uint32_t to_question, method of, const peer& as, unsigned variant,
                          const change& by) {
  return message([&](rpc::Message::Builder to) {
    auto made = to.initReturn();
    made.setAnswerId(to_question);
    put_struct(made.initResults(), of.getResultType(), variant, as, by);
  });
}

inline std::string bootstrap(std::uint32_t question) {
  return message([&](rpc::Message::Builder to) { to.initBootstrap().setQuestionId(question); });
}
inline std::string finish(std::uint32_t question) {
  return message([&](rpc::Message::Builder to) { to.initFinish().setQuestionId(question); });
}

template <class Interface>
method method_of(unsigned index) {
  const auto all = capnp::Schema::from<Interface>().getMethods();
  return all[index % all.size()];
}
template <class Interface>
unsigned methods_in() {
  return capnp::Schema::from<Interface>().getMethods().size();
}

/// One message of a conversation: as it should be, and how to make another of its kind.
struct line {
  std::string plain;
  std::function<std::string(unsigned variant, const change&)> other = {};
};
using conversation = std::vector<line>;

inline line call_line(std::uint32_t question, const reference& on, method what, const peer& as) {
  return {call(question, on, what, as, 0, nothing), [=, &as](unsigned variant, const change& by) {
            return call(question, on, what, as, variant, by);
          }};
}
inline line answer_line(std::uint32_t question, method of, const peer& as, unsigned right = 0) {
  return {answer(question, of, as, right, nothing), [=, &as](unsigned variant, const change& by) {
            return answer(question, of, as, variant, by);
          }};
}

/// Bootstrap, every method, takes its tokens, lets go.
inline conversation as_client(const peer& as) {
  conversation said = {{bootstrap(0)}};
  for (unsigned m = 0; m < methods_in<schema::Gateway>(); ++m)
    said.push_back(call_line(1 + m, bootstrap_answer, method_of<schema::Gateway>(m), as));
  // It is told that it is accepted and 18 tokens, of which 16 calls at most wait for an answer.
  for (std::uint32_t told = 0; told < 19; ++told)
    said.push_back(answer_line(told % 16, method_of<schema::TokenSink>(told > 0), as));
  for (std::uint32_t q = 1; q < 4; ++q) said.push_back({finish(q)});
  return said;
}

/// What the head asks a node that has joined, by its questions: methods of Node, in the order of
/// link_session_actors.hpp; the sinks of its requests are the capabilities 2 to 4.
inline constexpr unsigned head_asks[] = {5, 6, 0, 0, 0, 1, 2, 3, 7};

/// Bootstrap, join, tokens and every method, an answer to each question, lets go.
inline conversation as_node(const peer& as) {
  conversation said = {{bootstrap(0)},
                       call_line(1, bootstrap_answer, method_of<schema::Head>(0), as)};
  std::uint32_t question = 2;
  for (unsigned m : {0, 1, 1})
    said.push_back(call_line(question++, {2, -1, true}, method_of<schema::TokenSink>(m), as));
  const auto answered = [&](std::uint32_t q, unsigned variant) {
    said.push_back(answer_line(q, method_of<schema::Node>(head_asks[q]), as, variant));
  };
  for (std::uint32_t q : {0, 1, 4, 5, 6, 7, 8}) answered(q, 0);
  for (unsigned m = 0; m < methods_in<schema::Session>(); ++m)
    said.push_back(call_line(question++, session, method_of<schema::Session>(m), as));
  answered(2, 0);
  answered(3, 1);
  for (std::uint32_t q = 2; q < question; ++q) said.push_back({finish(q)});
  return said;
}

/// More at once than a client or a node may leave open: bootstraps, or calls that wait for the
/// aggregator that never answers.
inline conversation impatient(const peer& as) {
  conversation said = {{bootstrap(0)}};
  if (as.who == speaks::client) {
    for (std::uint32_t q = 1; q < 400; ++q) said.push_back({bootstrap(q)});
    return said;
  }
  said.push_back(call_line(1, bootstrap_answer, method_of<schema::Head>(0), as));
  constexpr unsigned shadow = 5;
  for (std::uint32_t q = 2; q < 50; ++q)
    said.push_back({call(q, session, method_of<schema::Session>(shadow), as, 0,
                         [](capnp::DynamicStruct::Builder params) {
                           params.get("state").as<capnp::DynamicStruct>().set("adapter", "silent");
                         })});
  return said;
}

inline conversation good_one(const peer& as) {
  return as.who == speaks::client ? as_client(as) : as_node(as);
}

inline std::string plain(const conversation& said) {
  std::string all;
  for (const auto& one : said) all += one.plain;
  return all;
}

}  // namespace collm::fuzz
