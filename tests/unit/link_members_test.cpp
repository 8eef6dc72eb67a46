// Who may take part: tokens and the list of accepted certificates, as plain values in plain time.
#include <gmock/gmock.h>

#include "link/join_tokens.hpp"
#include "link/node_book.hpp"

namespace collm::link {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t now = 1'000'000;

template <class T>
std::string failure(const result<T>& r) {
  return r ? "" : r.failure().message;
}

// -- the list

TEST(node_book, accepts_the_certificate_that_it_lists_for_that_site_only) {
  node_book book;
  book.enrol("edge-c", "yard", "aa");
  EXPECT_TRUE(book.admits("edge-c", "yard", "aa", now));
  EXPECT_THAT(failure(book.admits("edge-c", "yard", "bb", now)),
              HasSubstr("is not one that this head accepts"));
  EXPECT_THAT(failure(book.admits("edge-c", "kitchen", "aa", now)),
              HasSubstr("is of site 'yard', the manifest says 'kitchen'"));
  EXPECT_THAT(failure(book.admits("edge-d", "yard", "aa", now)),
              HasSubstr("no certificate of a node 'edge-d' is known"));
}

TEST(node_book, accepts_a_replaced_certificate_for_a_while_and_names_why_not_later) {
  node_book book;
  book.enrol("edge-c", "yard", "aa");
  book.add("edge-c", "bb");
  EXPECT_TRUE(book.admits("edge-c", "yard", "aa", now));
  EXPECT_TRUE(book.retire_before("edge-c", "bb", now + 600));
  EXPECT_FALSE(book.retire_before("edge-c", "bb", now + 900)) << "an end is never put off";
  EXPECT_FALSE(book.retire_before("edge-c", "zz", now)) << "nothing ends for one that is not there";
  EXPECT_TRUE(book.admits("edge-c", "yard", "aa", now + 599));
  EXPECT_THAT(failure(book.admits("edge-c", "yard", "aa", now + 600)),
              HasSubstr("was replaced by a newer one"));
  EXPECT_TRUE(book.admits("edge-c", "yard", "bb", now + 600));
}

TEST(node_book, holds_a_bounded_number_of_certificates_a_node) {
  node_book book;
  book.enrol("edge-c", "yard", "0");
  for (int i = 1; i < 100; ++i) book.add("edge-c", std::to_string(i));
  EXPECT_EQ(book.find("edge-c")->accepted.size(), node_book::certificates_max);
  EXPECT_TRUE(book.admits("edge-c", "yard", "99", now));
  EXPECT_TRUE(book.admits("edge-c", "yard", "0", now)) << "the one that the node shows";
  EXPECT_FALSE(book.admits("edge-c", "yard", "50", now));
}

TEST(node_book, accepts_nothing_of_a_revoked_node_until_it_enrols_again) {
  node_book book;
  book.enrol("edge-c", "yard", "aa");
  ASSERT_TRUE(book.revoke("edge-c", now));
  EXPECT_THAT(failure(book.admits("edge-c", "yard", "aa", now)),
              HasSubstr("was revoked; it can join again with a new token"));
  book.enrol("edge-c", "yard", "bb");
  EXPECT_TRUE(book.admits("edge-c", "yard", "bb", now));
  EXPECT_FALSE(book.admits("edge-c", "yard", "aa", now)) << "the stolen one";
  EXPECT_THAT(failure(book.revoke("edge-x", now)), HasSubstr("'edge-x'"));
}

TEST(node_book, is_the_same_after_a_restart) {
  node_book book;
  book.enrol("edge-c", "yard", "aa");
  book.add("edge-c", "bb");
  book.retire_before("edge-c", "bb", now + 600);
  book.enrol("edge-d", "barn", "cc");
  ASSERT_TRUE(book.revoke("edge-d", now));
  const auto again = node_book::parse(book.text());
  ASSERT_TRUE(again) << again.failure().message;
  EXPECT_EQ(again->text(), book.text());
  EXPECT_FALSE(again->admits("edge-c", "yard", "aa", now + 600));
  EXPECT_TRUE(again->admits("edge-c", "yard", "bb", now + 600));
  EXPECT_THAT(failure(again->admits("edge-d", "barn", "cc", now)), HasSubstr("was revoked"));
}

TEST(node_book, names_the_line_that_is_damaged) {
  for (const auto* damaged :
       {"edge-c yard accepted aa\n", "edge-c yard\n", "edge-c yard kept a 0\n",
        "edge-c yard revoked soon\n", "edge-c yard accepted aa 0 more\n"}) {
    const auto book = node_book::parse(std::string("edge-a kitchen accepted ff 0\n") + damaged);
    EXPECT_THAT(failure(book), HasSubstr("line 2 is damaged")) << damaged;
  }
}

// -- tokens

TEST(join_token, is_read_as_it_was_written) {
  const join_token token{"edge-c", "[::1]:8098", std::string(64, 'a'), std::string(64, '0')};
  const auto read = parse_token(to_string(token));
  ASSERT_TRUE(read) << read.failure().message;
  EXPECT_EQ(read->node, "edge-c");
  EXPECT_EQ(read->address, "[::1]:8098");
  EXPECT_EQ(read->authority, token.authority);
  EXPECT_EQ(read->secret, token.secret);
}

TEST(join_token, is_refused_whole_and_never_repeated_when_it_is_damaged) {
  const auto good =
      to_string({"edge-c", "10.0.0.5:8098", std::string(64, 'a'), std::string(64, '7')});
  for (const auto& bad :
       {good.substr(0, good.size() - 1), good + "0", good + "/", "collm2" + good.substr(6),
        std::string("hello"), std::string(), std::string(5000, '/'),
        to_string({"../edge", "10.0.0.5:8098", std::string(64, 'a'), std::string(64, '7')}),
        to_string({"edge-c", "10.0.0.5", std::string(64, 'a'), std::string(64, '7')})}) {
    const auto read = parse_token(bad);
    ASSERT_FALSE(read) << bad;
    EXPECT_THAT(read.failure().message, HasSubstr("not a whole join token"));
    EXPECT_EQ(read.failure().message.find("7777"), std::string::npos);
  }
}

TEST(token_book, takes_a_token_once_within_its_life) {
  token_book book;
  ASSERT_TRUE(book.issue("edge-c", "h", now, 600));
  EXPECT_EQ(*book.check("h", now + 599), "edge-c");
  book.use("h");
  EXPECT_THAT(failure(book.check("h", now + 599)),
              HasSubstr("of node 'edge-c' was used already; make a new one"));
}

TEST(token_book, names_why_a_token_is_refused) {
  token_book book;
  ASSERT_TRUE(book.issue("edge-c", "h", now, 600));
  EXPECT_THAT(failure(book.check("h", now + 600)), HasSubstr("expired 0 s ago"));
  EXPECT_THAT(failure(book.check("g", now)), HasSubstr("does not know this join token"));
  ASSERT_TRUE(book.issue("edge-c", "i", now, 600));
  EXPECT_THAT(failure(book.check("h", now)), HasSubstr("was replaced by a newer one"));
  EXPECT_TRUE(book.check("i", now));
}

TEST(token_book, holds_a_bounded_number) {
  token_book book;
  for (std::size_t i = 0; i < token_book::tokens_max; ++i)
    ASSERT_TRUE(book.issue("n" + std::to_string(i), "h" + std::to_string(i), now, 600)) << i;
  EXPECT_THAT(failure(book.issue("more", "h", now, 600)), HasSubstr("64 join tokens wait"));
  book.use("h3");
  EXPECT_TRUE(book.issue("more", "h", now, 600)) << "a used one gives way";
  EXPECT_TRUE(book.issue("later", "i", now + 600, 600)) << "so does one that is over";
}

}  // namespace
}  // namespace collm::link
