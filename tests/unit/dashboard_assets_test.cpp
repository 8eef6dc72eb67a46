// What is embedded is what npm built, complete, and asks nothing of other hosts.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>

#include "dashboard/assets.hpp"

namespace collm::dashboard {
namespace {

const std::filesystem::path dist = COLLM_BINARY_DIR "/web/dashboard/dist";

std::string content(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

const gateway::asset* find(std::string_view path) {
  const auto all = assets();
  const auto it = std::ranges::find(all, path, &gateway::asset::path);
  return it == all.end() ? nullptr : &*it;
}

}  // namespace

TEST(dashboard_assets, every_built_file_is_embedded_byte_for_byte) {
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dist)) {
    if (!entry.is_regular_file()) continue;
    ++files;
    const auto path = std::filesystem::relative(entry.path(), dist).generic_string();
    const auto* embedded = find(path);
    ASSERT_NE(embedded, nullptr) << path << " is built and not embedded: add it to assets.cpp";
    EXPECT_TRUE(embedded->bytes == content(entry.path())) << path << " differs from what was built";
  }
  EXPECT_EQ(files, assets().size());
}

TEST(dashboard_assets, content_types_let_a_browser_that_may_not_sniff_run_them) {
  ASSERT_NE(find("index.html"), nullptr);
  EXPECT_EQ(find("index.html")->content_type, "text/html; charset=utf-8");
  ASSERT_NE(find("app.js"), nullptr);
  EXPECT_EQ(find("app.js")->content_type, "text/javascript; charset=utf-8");
  ASSERT_NE(find("app.css"), nullptr);
  EXPECT_EQ(find("app.css")->content_type, "text/css; charset=utf-8");
}

TEST(dashboard_assets, page_refers_to_its_own_files_only) {
  const std::string page(find("index.html")->bytes);
  const std::regex reference(R"re((?:src|href)="([^"]*)")re");
  std::size_t references = 0;
  for (std::sregex_iterator it(page.begin(), page.end(), reference), end; it != end; ++it) {
    const std::string target = (*it)[1];
    ++references;
    if (target.starts_with("data:")) continue;
    ASSERT_TRUE(target.starts_with("./")) << target << " leaves /dashboard/";
    EXPECT_NE(find(target.substr(2)), nullptr) << target << " is not embedded";
  }
  EXPECT_EQ(references, 3U);
}

TEST(dashboard_assets, no_inline_script_that_the_security_policy_would_refuse) {
  const std::string page(find("index.html")->bytes);
  EXPECT_FALSE(std::regex_search(page, std::regex(R"(<script(?![^>]*\bsrc=))")));
  EXPECT_FALSE(std::regex_search(page, std::regex(R"(\son[a-z]+=)")));
}

TEST(dashboard_assets, stay_small) {
  std::size_t bytes = 0;
  for (const auto& asset : assets()) bytes += asset.bytes.size();
  EXPECT_LT(bytes, 300U * 1024U) << "the page is served whole at every visit";
}

}  // namespace collm::dashboard
