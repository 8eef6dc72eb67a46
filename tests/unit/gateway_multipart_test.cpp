// Forms as browsers, curl and HTTP libraries write them, and forms that nobody would write.
#include "gateway/multipart.hpp"

#include <gtest/gtest.h>

#include <random>

namespace collm::gateway {
namespace {

const std::string good =
    "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n"
    "--x\r\ncontent-type: text/plain\r\ncontent-disposition: form-data;name=file; "
    "filename=\"a \\\"b\\\".jsonl\"\r\n\r\n{\"a\":1}\r\n--\r\n\r\n--x--\r\n";

TEST(multipart, gives_fields_and_files_whole) {
  const auto parts = parse_form("Multipart/Form-Data; charset=utf-8; Boundary=x", good);
  ASSERT_TRUE(parts) << parts.failure().message;
  ASSERT_EQ(parts->size(), 2u);
  EXPECT_EQ((*parts)[0].name, "purpose");
  EXPECT_EQ((*parts)[0].content, "fine-tune");
  EXPECT_EQ((*parts)[0].file_name, "");
  EXPECT_EQ((*parts)[1].name, "file");
  EXPECT_EQ((*parts)[1].file_name, "a \"b\".jsonl");
  EXPECT_EQ((*parts)[1].content, "{\"a\":1}\r\n--\r\n");
}

TEST(multipart, takes_a_quoted_boundary_and_an_empty_part) {
  const auto parts =
      parse_form("multipart/form-data; boundary=\"a b\"",
                 "--a b\r\nContent-Disposition: form-data; name=n\r\n\r\n\r\n--a b--");
  ASSERT_TRUE(parts) << parts.failure().message;
  ASSERT_EQ(parts->size(), 1u);
  EXPECT_EQ((*parts)[0].content, "");
}

TEST(multipart, bounds_what_it_takes) {
  std::string many;
  for (std::size_t i = 0; i <= form_parts_max; ++i)
    many += "--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n";
  const auto refused = parse_form("multipart/form-data; boundary=x", many + "--x--");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.failure().code, errc::too_large);
  const std::string head(form_head_bytes_max + 1, 'h');
  EXPECT_FALSE(
      parse_form("multipart/form-data; boundary=x", "--x\r\n" + head + "\r\n\r\n\r\n--x--"));
  EXPECT_FALSE(parse_form("multipart/form-data; boundary=" + std::string(71, 'b'), good));
}

TEST(multipart, survives_what_nobody_would_write) {
  std::mt19937 random(3);
  const std::string type = "multipart/form-data; boundary=x";
  for (int i = 0; i < 20'000; ++i) {
    auto body = good, head = type;
    for (int k = 0; k < 3; ++k) body[random() % body.size()] = static_cast<char>(random());
    if (i % 3 == 0) body.resize(random() % body.size());
    if (i % 4 == 0) head[random() % head.size()] = static_cast<char>(random());
    const auto parts = parse_form(head, body);
    if (!parts) continue;
    for (const auto& part : *parts) EXPECT_LE(part.content.size(), body.size());
  }
}

}  // namespace
}  // namespace collm::gateway
