#include "store/blob_store.hpp"

#include "store/checkpoint_store.hpp"
#include "store/digest.hpp"
#include "tests/support/store_folder.hpp"

namespace collm::store {
namespace {

class blob_store_test : public store_folder {
 protected:
  std::unique_ptr<blob_store> open(std::uint64_t bytes_max = 1000, disk& on = real_disk()) {
    auto opened = blob_store::open(folder_ / "blobs", bytes_max, on);
    EXPECT_TRUE(opened) << (opened ? "" : opened.failure().message);
    return std::move(*opened);
  }
  std::filesystem::path file_of(const std::string& digest) const {
    return folder_ / "blobs" / digest.substr(0, 1) / digest;
  }
  static std::string text_of(const std::vector<std::byte>& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

TEST_F(blob_store_test, gives_back_what_was_put_also_after_reopening) {
  std::string digest;
  {
    auto s = open();
    digest = *s->put(bytes_of("hello"));
    EXPECT_EQ(digest, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    EXPECT_EQ(*s->put(bytes_of("hello")), digest);
    EXPECT_EQ(s->bytes_used(), 5u);
  }
  auto s = open();
  EXPECT_TRUE(s->has(digest));
  EXPECT_EQ(text_of(*s->get(digest)), "hello");
  EXPECT_EQ(s->bytes_used(), 5u);
  auto part = s->read(digest);
  std::array<std::byte, 2> two{};
  ASSERT_TRUE(part->read(3, two));
  EXPECT_EQ(static_cast<char>(two[0]), 'l');
  EXPECT_FALSE(part->read(4, two));
}

TEST_F(blob_store_test, a_damaged_blob_is_named_never_served_and_mended_by_putting_it_again) {
  auto s = open();
  const auto digest = *s->put(bytes_of("some numbers"));
  damage(file_of(digest), 3);
  const auto read = s->get(digest);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.failure().code, errc::corrupt);
  EXPECT_NE(read.failure().message.find(digest), std::string::npos);
  EXPECT_FALSE(s->read(digest));
  ASSERT_TRUE(s->put(bytes_of("some numbers")));
  EXPECT_EQ(text_of(*s->get(digest)), "some numbers");
  EXPECT_EQ(s->bytes_used(), 12u);
}

TEST_F(blob_store_test, a_damaged_blob_may_come_again_in_chunks) {
  auto s = open();
  const auto digest = *s->put(bytes_of("some numbers"));
  damage(file_of(digest), 3);
  EXPECT_EQ(*s->begin(digest, 12), 0u);
  ASSERT_TRUE(s->append(digest, 0, bytes_of("some numbers")));
  ASSERT_TRUE(s->finish(digest));
  EXPECT_TRUE(s->get(digest));
}

TEST_F(blob_store_test, what_is_not_there_and_what_is_no_digest_are_told_apart) {
  auto s = open();
  EXPECT_EQ(s->get(digest_of("nobody")).failure().code, errc::not_found);
  EXPECT_EQ(s->get("../../etc/passwd").failure().code, errc::bad_request);
  EXPECT_EQ(s->begin("..", 1).failure().code, errc::bad_request);
  EXPECT_FALSE(s->has(".."));
}

TEST_F(blob_store_test, the_quota_holds_for_whole_and_for_coming_blobs) {
  auto s = open(10);
  ASSERT_TRUE(s->put(bytes_of("123456")));
  EXPECT_EQ(s->put(bytes_of("abcde")).failure().code, errc::overloaded);
  ASSERT_TRUE(s->put(bytes_of("abcd")));
  const std::string more = "xy";
  EXPECT_EQ(s->begin(digest_of(more), 2).failure().code, errc::overloaded);
  ASSERT_TRUE(s->remove(digest_of("abcd")));
  EXPECT_EQ(*s->begin(digest_of(more), 2), 0u);
}

TEST_F(blob_store_test, chunks_go_on_where_they_stopped_also_after_a_restart) {
  const std::string whole = "chunk one, chunk two";
  const auto digest = digest_of(whole);
  {
    auto s = open();
    EXPECT_EQ(*s->begin(digest, whole.size()), 0u);
    EXPECT_EQ(*s->append(digest, 0, bytes_of("chunk one")), 9u);
    EXPECT_EQ(s->finish(digest).failure().code, errc::conflict);
  }
  auto s = open();
  EXPECT_EQ(s->bytes_used(), 9u);
  EXPECT_EQ(s->append(digest, 9, bytes_of(", ")).failure().code, errc::conflict);  // not begun
  EXPECT_EQ(*s->begin(digest, whole.size()), 9u);
  EXPECT_EQ(*s->append(digest, 12, bytes_of("x")), 9u) << "its sender goes back to what is here";
  EXPECT_EQ(*s->append(digest, 6, bytes_of("one, ")), 11u);  // some of it again
  EXPECT_EQ(*s->append(digest, 0, bytes_of("chunk")), 11u);
  EXPECT_EQ(s->append(digest, 11, bytes_of("chunk two!")).failure().code, errc::too_large);
  EXPECT_FALSE(s->has(digest));
  ASSERT_TRUE(s->append(digest, 11, bytes_of("chunk two")));
  ASSERT_TRUE(s->finish(digest));
  EXPECT_EQ(text_of(*s->get(digest)), whole);
  EXPECT_EQ(*s->begin(digest, whole.size()), whole.size());
  EXPECT_EQ(s->bytes_used(), whole.size());
}

TEST_F(blob_store_test, what_came_of_a_blob_can_be_forgotten) {
  auto s = open();
  const auto digest = digest_of("right");
  ASSERT_TRUE(s->begin(digest, 5));
  ASSERT_TRUE(s->append(digest, 0, bytes_of("rig")));
  ASSERT_TRUE(s->drop_incoming(digest));
  EXPECT_EQ(s->bytes_used(), 0u);
  EXPECT_EQ(*s->begin(digest, 5), 0u);
  ASSERT_TRUE(s->append(digest, 0, bytes_of("right")));
  ASSERT_TRUE(s->finish(digest));
  ASSERT_TRUE(s->drop_incoming(digest));
  EXPECT_TRUE(s->has(digest)) << "a whole one stays";
  EXPECT_EQ(s->bytes_used(), 5u);
  EXPECT_EQ(s->drop_incoming("../x").failure().code, errc::bad_request);
}

TEST_F(blob_store_test, other_bytes_than_promised_are_dropped) {
  auto s = open();
  const auto digest = digest_of("right");
  ASSERT_TRUE(s->begin(digest, 5));
  ASSERT_TRUE(s->append(digest, 0, bytes_of("wrong")));
  EXPECT_EQ(s->finish(digest).failure().code, errc::corrupt);
  EXPECT_FALSE(s->has(digest));
  EXPECT_EQ(s->bytes_used(), 0u);
  EXPECT_EQ(*s->begin(digest, 5), 0u);
}

TEST_F(blob_store_test, keeps_only_what_is_named) {
  auto s = open();
  const auto one = *s->put(bytes_of("one")), two = *s->put(bytes_of("four"));
  ASSERT_TRUE(s->begin(digest_of("half"), 4));
  ASSERT_TRUE(s->append(digest_of("half"), 0, bytes_of("ha")));
  EXPECT_EQ(*s->keep_only({one}), 6u);
  EXPECT_TRUE(s->has(one));
  EXPECT_FALSE(s->has(two));
  EXPECT_EQ(s->bytes_used(), 3u);
}

TEST_F(blob_store_test, whatever_call_fails_nothing_half_is_ever_visible) {
  const std::string whole = "all of it or none";
  const auto digest = digest_of(whole);
  bool succeeded = false;
  for (int n = 0; !succeeded; ++n) {
    std::filesystem::remove_all(folder_ / "blobs");
    failing_disk bad(n);
    auto s = open(1000, bad);
    succeeded = static_cast<bool>(s->put(bytes_of(whole)));
    s = open();
    EXPECT_EQ(s->has(digest), succeeded) << n;
    if (s->has(digest)) {
      EXPECT_EQ(text_of(*s->get(digest)), whole);
    }
    ASSERT_TRUE(s->put(bytes_of(whole)));
    ASSERT_LT(n, 20);
  }
}

TEST_F(blob_store_test, chunks_survive_a_disk_that_stops_at_any_call) {
  const std::string whole = "all of it or none";
  const auto digest = digest_of(whole);
  const auto send = [&](blob_store& s) {
    auto at = s.begin(digest, whole.size());
    while (at && *at < whole.size())
      at = s.append(
          digest, *at,
          bytes_of(whole).subspan(*at).first(std::min<std::size_t>(5, whole.size() - *at)));
    return at && s.finish(digest);
  };
  bool succeeded = false;
  for (int n = 0; !succeeded; ++n) {
    std::filesystem::remove_all(folder_ / "blobs");
    failing_disk bad(n);
    succeeded = send(*open(1000, bad));
    auto s = open();
    EXPECT_EQ(s->has(digest), succeeded) << n;
    EXPECT_TRUE(send(*s)) << n;
    EXPECT_EQ(text_of(*s->get(digest)), whole);
    ASSERT_LT(n, 40);
  }
}

class checkpoint_store_test : public store_folder {
 protected:
  static checkpoint at(std::uint64_t step, const std::string& bytes) {
    const auto span = bytes_of(bytes);
    return {step, "round 3\ncursor 7", {span.begin(), span.end()}};
  }
};

TEST_F(checkpoint_store_test, the_newest_whole_one_is_loaded_and_two_are_kept) {
  checkpoint_store s(folder_);
  EXPECT_FALSE(s.load("assistant")->newest);
  for (std::uint64_t step : {2u, 9u, 10u})
    ASSERT_TRUE(s.save("assistant", at(step, "state " + std::to_string(step))));
  const auto found = s.load("assistant");
  ASSERT_TRUE(found && found->newest);
  EXPECT_EQ(found->newest->step, 10u);
  EXPECT_EQ(found->newest->note, "round 3\ncursor 7");
  EXPECT_EQ(found->newest->bytes, at(10, "state 10").bytes);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "assistant" / "2.checkpoint"));
  ASSERT_TRUE(s.forget("assistant"));
  EXPECT_FALSE(s.load("assistant")->newest);
}

TEST_F(checkpoint_store_test, a_damaged_one_is_named_and_the_one_before_it_loaded) {
  checkpoint_store s(folder_);
  ASSERT_TRUE(s.save("assistant", at(1, "first")));
  ASSERT_TRUE(s.save("assistant", at(2, "second")));
  const auto file = folder_ / "assistant" / "2.checkpoint";
  const auto size = std::filesystem::file_size(file);
  for (std::uintmax_t byte = 0; byte < size; ++byte) {
    damage(file, static_cast<std::streamoff>(byte));
    const auto found = s.load("assistant");
    ASSERT_TRUE(found && found->newest) << byte;
    EXPECT_EQ(found->newest->step, 1u) << byte;
    EXPECT_EQ(found->damaged, (std::vector<std::string>{file.string()}));
    damage(file, static_cast<std::streamoff>(byte));
  }
  for (std::uintmax_t bytes = 0; bytes < size; bytes += 7) {
    std::filesystem::resize_file(file, bytes);
    EXPECT_EQ(s.load("assistant")->newest->step, 1u);
  }
}

TEST_F(checkpoint_store_test, whatever_call_fails_the_last_checkpoint_stands) {
  bool succeeded = false;
  for (int n = 0; !succeeded; ++n) {
    ASSERT_TRUE(checkpoint_store(folder_).save("assistant", at(1, "first")));
    failing_disk bad(n);
    succeeded = static_cast<bool>(checkpoint_store(folder_, bad).save("assistant", at(2, "2nd")));
    EXPECT_EQ(checkpoint_store(folder_).load("assistant")->newest->step, succeeded ? 2u : 1u);
    ASSERT_LT(n, 20);
  }
}

}  // namespace
}  // namespace collm::store
