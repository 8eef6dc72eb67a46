#include "store/served_versions.hpp"

#include "store/digest.hpp"
#include "tests/support/store_folder.hpp"

namespace collm::store {
namespace {

std::string text_of(const result<std::vector<std::byte>>& bytes) {
  if (!bytes) return std::string(to_string(bytes.failure().code));
  return {reinterpret_cast<const char*>(bytes->data()), bytes->size()};
}

class served : public store_folder {
 protected:
  served_versions of(const std::string& base, disk& on = real_disk()) const {
    return {folder_ / "served", base, on};
  }
  const std::string seven = digest_of("factors of 7"), eight = digest_of("factors of 8");
};

TEST_F(served, are_there_again_for_the_process_that_comes_after) {
  auto before = of("base");
  EXPECT_EQ(text_of(before.list()), "not_found");
  ASSERT_TRUE(before.keep_factors(seven, bytes_of("7777")));
  ASSERT_TRUE(before.keep_list(bytes_of("a@7")));
  const auto after = of("base");
  EXPECT_EQ(text_of(after.list()), "a@7");
  EXPECT_TRUE(after.has_factors(seven));
  EXPECT_EQ(text_of(after.factors(seven)), "7777");
  EXPECT_EQ(text_of(after.factors(eight)), "not_found");
}

TEST_F(served, forget_the_factors_of_what_serves_no_more) {
  auto s = of("base");
  ASSERT_TRUE(s.keep_factors(seven, bytes_of("7777")));
  ASSERT_TRUE(s.keep_list(bytes_of("a@7")));
  ASSERT_TRUE(s.keep_factors(eight, bytes_of("8888")));
  ASSERT_TRUE(s.keep_list(bytes_of("a@8")));
  EXPECT_TRUE(s.has_factors(seven));
  write(folder_ / "served" / (seven + ".factors.half"), "77");
  ASSERT_TRUE(s.keep_only({eight}));
  EXPECT_FALSE(s.has_factors(seven));
  EXPECT_EQ(text_of(s.factors(eight)), "8888");
  EXPECT_EQ(text_of(s.list()), "a@8");
  const auto left = std::filesystem::directory_iterator(folder_ / "served");
  EXPECT_EQ(std::distance(begin(left), end(left)), 2);
}

TEST_F(served, that_cannot_be_read_are_an_error_and_no_exception) {
  const auto loop = folder_ / "loop";
  std::filesystem::create_symlink(loop, loop);
  served_versions s(loop, "base");
  EXPECT_EQ(text_of(s.list()), "io");
  EXPECT_FALSE(s.has_factors(seven));
  EXPECT_EQ(text_of(s.factors(seven)), "io");
  EXPECT_FALSE(s.keep_list(bytes_of("a@7")));
}

TEST_F(served, of_another_base_are_none) {
  ASSERT_TRUE(of("base").keep_list(bytes_of("a@7")));
  EXPECT_EQ(text_of(of("bas").list()), "not_found");
  EXPECT_EQ(text_of(of("another").list()), "not_found");
}

TEST_F(served, that_are_damaged_are_not_believed) {
  ASSERT_TRUE(of("base").keep_list(bytes_of("a@7")));
  const auto file = folder_ / "served" / "versions";
  damage(file, static_cast<std::streamoff>(std::filesystem::file_size(file)) - 1);
  EXPECT_EQ(text_of(of("base").list()), "corrupt");
  write(file, "");
  EXPECT_EQ(text_of(of("base").list()), "corrupt");
}

TEST_F(served, name_no_file_by_what_is_no_digest) {
  auto s = of("base");
  for (const std::string bad : {"", "../../etc/passwd", "7"}) {
    EXPECT_FALSE(s.keep_factors(bad, bytes_of("7777"))) << bad;
    EXPECT_EQ(text_of(s.factors(bad)), "bad_request") << bad;
    EXPECT_FALSE(s.has_factors(bad)) << bad;
  }
}

TEST_F(served, are_the_old_ones_or_the_new_ones_wherever_the_disk_fails) {
  auto whole = of("base");
  ASSERT_TRUE(whole.keep_factors(seven, bytes_of("7777")));
  ASSERT_TRUE(whole.keep_list(bytes_of("a@7")));
  for (int at = 0;; ++at) {
    failing_disk full(at);
    auto s = of("base", full);
    const bool done = s.keep_factors(eight, bytes_of("8888")) && s.keep_list(bytes_of("a@8"));
    const auto list = text_of(whole.list());
    EXPECT_TRUE(list == "a@7" || list == "a@8") << list;
    EXPECT_EQ(text_of(whole.factors(list == "a@7" ? seven : eight)),
              list == "a@7" ? "7777" : "8888");
    if (done) break;
    ASSERT_LT(at, 50);
  }
  EXPECT_EQ(text_of(whole.list()), "a@8");
}

}  // namespace
}  // namespace collm::store
