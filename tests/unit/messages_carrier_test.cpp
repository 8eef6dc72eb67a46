// The carrier: zero copy inside a process, and what it refuses at the edge.
#include <capnp/any.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <future>

#include "actors/caf.hpp"
#include "messages/inference.capnp.h"
#include "messages/registry.capnp.h"

namespace collm {
namespace {

using schema::Request;
using ::testing::HasSubstr;

msg<Request> make_request(std::uint32_t tokens) {
  return msg<Request>::build([&](Request::Builder to) {
    to.setModel("assistant@3");
    auto prompt = to.initPrompt(tokens);
    for (std::uint32_t i = 0; i < tokens; ++i) prompt.set(i, i);
  });
}

std::vector<std::byte> copy(std::span<const std::byte> bytes) {
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> words(std::initializer_list<std::uint64_t> values) {
  std::vector<std::byte> out(values.size() * 8);
  std::memcpy(out.data(), std::data(values), out.size());
  return out;
}

/// Segment table of one segment, then its words.
std::vector<std::byte> message(const std::vector<std::uint64_t>& segment) {
  std::vector<std::byte> out(8 + segment.size() * 8);
  const std::uint64_t table = static_cast<std::uint64_t>(segment.size()) << 32;
  std::memcpy(out.data(), &table, 8);
  std::memcpy(out.data() + 8, segment.data(), segment.size() * 8);
  return out;
}

template <class T>
std::string refusal(std::span<const std::byte> bytes, const limits& bounds = {}) {
  auto m = msg<T>::from_bytes(bytes, bounds);
  return m ? "" : std::string(to_string(m.failure().code)) + ": " + m.failure().message;
}

constexpr std::uint64_t one_pointer =
    0x0001'0000'0000'0000;  // a struct of one pointer, right behind

TEST(carrier, passes_between_actors_without_a_copy) {
  caf::actor_system_config config;
  caf::actor_system system(config);
  const auto request = make_request(1000);
  std::promise<const void*> seen;
  auto arrived = seen.get_future();
  auto last = system.spawn([&seen](caf::event_based_actor* self) -> caf::behavior {
    return {[&seen, self](const msg<Request>& m) {
      seen.set_value(m.read()->getPrompt().begin() == m.read()->getPrompt().end()
                         ? nullptr
                         : m.bytes().data());
      self->quit();
    }};
  });
  auto first = system.spawn([last](caf::event_based_actor* self) -> caf::behavior {
    return {[last, self](const msg<Request>& m) {
      self->send(last, m);
      self->quit();
    }};
  });
  caf::anon_send(first, request);
  EXPECT_EQ(arrived.get(), static_cast<const void*>(request.bytes().data()));
}

TEST(carrier, gives_back_what_was_built) {
  const auto sent = make_request(3);
  auto got = msg<Request>::from_bytes(sent.bytes());
  ASSERT_TRUE(got) << got.failure().message;
  auto view = got->read();
  EXPECT_STREQ(view->getModel().cStr(), "assistant@3");
  EXPECT_EQ(view->getPrompt()[2], 2u);
  EXPECT_EQ(view->getSampling().getTopP(), 1.0f);  // a default of the schema
}

TEST(carrier, takes_messages_of_several_segments) {
  capnp::MallocMessageBuilder builder(4, capnp::AllocationStrategy::FIXED_SIZE);
  auto root = builder.initRoot<Request>();
  root.setModel(std::string(300, 'm').c_str());
  root.initPrompt(100);
  ASSERT_GT(builder.getSegmentsForOutput().size(), 1u);
  const auto flat = flatten(builder);
  auto got = msg<Request>::from_bytes(std::as_bytes(std::span(flat->words.get(), flat->count)));
  ASSERT_TRUE(got) << got.failure().message;
  EXPECT_EQ(got->read()->getPrompt().size(), 100u);
}

TEST(carrier, may_be_read_any_number_of_times) {
  const auto m = make_request(10000);
  auto view = m.read();
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(view->getPrompt().size(), 10000u);
}

TEST(carrier, refuses_one_byte_past_the_limit) {
  const auto m = make_request(100);
  limits bounds;
  bounds.frame_bytes_max = m.bytes().size();
  EXPECT_EQ(refusal<Request>(m.bytes(), bounds), "");
  bounds.frame_bytes_max -= 1;
  EXPECT_THAT(refusal<Request>(m.bytes(), bounds), HasSubstr("too_large: message of"));
}

TEST(carrier, refuses_what_is_not_whole_words) {
  auto bytes = copy(make_request(4).bytes());
  EXPECT_THAT(refusal<Request>({}), HasSubstr("whole number of 8-byte words, not 0"));
  for (int cut = 1; cut < 8; ++cut) {
    EXPECT_THAT(refusal<Request>(std::span(bytes).first(bytes.size() - cut)),
                HasSubstr("corrupt: a Cap'n Proto"));
  }
}

TEST(carrier, refuses_every_truncation) {
  auto bytes = copy(make_request(40).bytes());
  for (std::size_t size = 8; size < bytes.size(); size += 8) {
    EXPECT_THAT(refusal<Request>(std::span(bytes).first(size)), HasSubstr("corrupt: ")) << size;
  }
}

TEST(carrier, refuses_segment_tables_that_lie) {
  EXPECT_THAT(refusal<Request>(words({0xffffffff'ffffffff, 0})),
              HasSubstr("corrupt: "));  // 2^32 segments
  EXPECT_THAT(refusal<Request>(words({0x20000000'00000000, 0})),
              HasSubstr("corrupt: "));  // 4 GiB in one
  EXPECT_THAT(refusal<Request>(words({0x00000001'00000001, 0x00000000'00000009, 0})),
              HasSubstr("corrupt: "));
}

TEST(carrier, refuses_nesting_bombs) {
  limits bounds;
  bounds.nesting_max = 16;
  std::vector<std::uint64_t> chain(10, one_pointer);
  chain.push_back(0);
  EXPECT_THAT(refusal<schema::VersionList>(message(chain), bounds), HasSubstr("non-list pointer"))
      << "not too deep, and not of that schema";
  chain.assign(200, one_pointer);
  chain.push_back(0);
  EXPECT_THAT(refusal<schema::VersionList>(message(chain), bounds), HasSubstr("too deeply-nested"));
  const std::uint64_t to_itself = one_pointer | 0xffff'fffc;  // offset -1
  EXPECT_THAT(refusal<schema::VersionList>(message({one_pointer, to_itself}), bounds),
              HasSubstr("corrupt: "));
}

TEST(carrier, refuses_amplification) {
  // 1,000 pointers, all to one list of 1,000 words: a kilobyte that reads as a megaword.
  std::vector<std::uint64_t> segment = {one_pointer};
  segment.push_back(0x1ull | (1000ull * 8 + 6) << 32);  // list of 1,000 pointers, right behind
  for (std::uint64_t i = 0; i < 1000; ++i)
    segment.push_back(0x1ull | (999 - i) << 2 | (1000ull * 8 + 5) << 32);
  segment.resize(segment.size() + 1000, 7);
  EXPECT_THAT(refusal<schema::VersionList>(message(segment)), HasSubstr("corrupt: malformed"));
}

TEST(carrier, refuses_lists_of_nothing_that_claim_to_be_long) {
  // A list of 2^29 - 1 structs without a word each: eight bytes that would keep a handler busy for
  // minutes.
  const std::uint64_t list = 0x1ull | 7ull << 32;   // composite, 0 words
  const std::uint64_t tag = (0x1fff'ffffull << 2);  // count, no data, no pointers
  EXPECT_THAT(refusal<schema::VersionList>(message({one_pointer, list, tag})),
              HasSubstr("corrupt: "));
}

/// Whether a list of versions may pass after its pointers were spoilt, of the list and of a
/// version: as a struct that is copied and as bytes.
template <class Spoil>
bool passes(Spoil&& spoil) {
  capnp::MallocMessageBuilder message;
  auto list = message.initRoot<schema::VersionList>();
  auto version = list.initVersions(2)[1];
  version.setAdapter("assistant");
  version.setSource("initial");
  spoil(capnp::toAny(list).getPointerSection(), capnp::toAny(version).getPointerSection());
  const auto copied = guard([&] { return msg<schema::VersionList>::copy_of(list.asReader()); });
  const auto flat = capnp::messageToFlatArray(message);
  const auto read =
      msg<schema::VersionList>::from_bytes(std::as_bytes(std::span(flat.begin(), flat.size())));
  EXPECT_EQ(bool(copied), bool(read));
  if (!copied) return false;
  const auto versions = copied->read();
  for (const auto v : versions->getVersions()) EXPECT_GE(v.getAdapter().size(), 0u);
  return true;
}

TEST(carrier, refuses_what_is_not_of_its_schema) {
  using list = capnp::List<capnp::AnyPointer>::Builder;
  EXPECT_TRUE(passes([](list, list) {}));
  EXPECT_TRUE(passes([](list, list version) { version[1].clear(); }));
  // Bytes are structs of one byte, if a schema wants structs.
  EXPECT_TRUE(passes([](list all, list) { all[0].setAs<capnp::Text>("bytes"); }));
  EXPECT_FALSE(passes([](list all, list) { all[0].initAs<capnp::List<bool>>(9); }));
  EXPECT_FALSE(passes([](list all, list) { all[0].initAs<schema::VersionRecord>(); }));
  EXPECT_FALSE(passes([](list, list version) { version[0].initAs<schema::VersionRecord>(); }));
  EXPECT_FALSE(passes([](list, list version) {
    version[1].initAs<capnp::List<std::uint8_t>>(3).set(2, 'x');  // a text ends with a nul
  }));
}

TEST(carrier, copies_no_elements_that_take_no_bytes) {
  capnp::MallocMessageBuilder message;
  auto all = message.initRoot<schema::VersionList>();
  capnp::toAny(all).getPointerSection()[0].initAs<capnp::List<capnp::Void>>((1u << 29) - 1);
  capnp::ReaderOptions bounds;
  bounds.traversalLimitInWords = 1u << 20;  // as of a connection
  const auto flat = capnp::messageToFlatArray(message);
  capnp::FlatArrayMessageReader reader(flat, bounds);
  EXPECT_FALSE(guard(
      [&] { return msg<schema::VersionList>::copy_of(reader.getRoot<schema::VersionList>()); }));
}

TEST(carrier, copies_no_more_than_it_may_where_pointers_share_what_they_point_to) {
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::VersionRecord>().setAdapter(std::string(7999, 'x'));
  const auto flat = capnp::messageToFlatArray(message);
  std::vector<std::uint64_t> sent(flat.size());
  std::memcpy(sent.data(), flat.begin(), flat.size() * 8);
  // The table, the root's pointer, its data, its pointers, of which the first is the text's.
  const auto pointers = 2 + (sent[1] >> 32 & 0xffff), count = sent[1] >> 48;
  for (std::uint64_t k = 1; k < count; ++k) sent[pointers + k] = sent[pointers] - (k << 2);
  const kj::ArrayPtr<const capnp::word> words(reinterpret_cast<const capnp::word*>(sent.data()),
                                              sent.size());
  const auto copied = [&](std::size_t bytes_max) {
    capnp::FlatArrayMessageReader reader(words);
    return guard([&] {
      return msg<schema::VersionRecord>::copy_of(reader.getRoot<schema::VersionRecord>(),
                                                 bytes_max);
    });
  };
  ASSERT_TRUE(copied(64 << 10));
  EXPECT_GT(copied(64 << 10)->bytes().size(), count * 8000);
  EXPECT_FALSE(copied(16 << 10));
}

TEST(carrier, guard_turns_a_readers_exception_into_an_error) {
  const auto read = guard([]() -> int { KJ_FAIL_REQUIRE("no such pointer"); });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.failure().code, errc::corrupt);
  EXPECT_THAT(read.failure().message, HasSubstr("malformed message: no such pointer"));
}

}  // namespace
}  // namespace collm
