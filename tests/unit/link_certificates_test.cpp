#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "link/x509.hpp"
#include "tests/unit/link_fixture.hpp"

namespace collm::link::testing {
namespace {

using ::testing::HasSubstr;

std::string read(const std::filesystem::path& file) {
  std::ifstream in(file);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

void write(const std::filesystem::path& file, const std::string& text) {
  std::ofstream out(file, std::ios::trunc);
  out << text;
}

std::string failure(const result<void>& r) { return r ? "" : r.failure().message; }

class link_certificates : public ::testing::Test {
 protected:
  result<void> ensure(std::vector<std::string> nodes = {"edge-a", "edge-b"}) {
    std::vector<node_identity> identities;
    for (const auto& node : nodes) identities.push_back({node, "kitchen"});
    return ensure_certificates(in_.path / "link", "demo", identities);
  }
  std::filesystem::path file(const std::string& name) const { return in_.path / "link" / name; }
  folder in_;
};

TEST_F(link_certificates, are_made_when_absent_and_fit_their_names) {
  ASSERT_EQ(failure(ensure()), "");
  EXPECT_EQ(failure(check_certificate(head_files(file("")), "head.demo")), "");
  EXPECT_EQ(failure(check_certificate(node_files(file(""), "edge-b"), "edge-b.node")), "");
}

TEST_F(link_certificates, keep_keys_from_others) {
  ASSERT_TRUE(ensure());
  for (const auto* key : {"ca.key", "head.key", "edge-a.node.key"}) {
    struct stat about {};
    ASSERT_EQ(::stat(file(key).c_str(), &about), 0) << key;
    EXPECT_EQ(about.st_mode & 0777, 0600u) << key;
  }
  struct stat about {};
  ASSERT_EQ(::stat(file("").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 077, 0u);
}

TEST_F(link_certificates, stay_as_they_are_when_they_exist) {
  ASSERT_TRUE(ensure({"edge-a"}));
  const auto head = read(file("head.crt"));
  const auto authority = read(file("ca.crt"));
  ASSERT_TRUE(ensure({"edge-a", "edge-c"}));  // a node more in the manifest
  EXPECT_EQ(read(file("head.crt")), head);
  EXPECT_EQ(read(file("ca.crt")), authority);
  EXPECT_EQ(failure(check_certificate(node_files(file(""), "edge-c"), "edge-c.node")), "");
}

TEST_F(link_certificates, survive_a_broken_off_attempt) {
  ASSERT_TRUE(ensure());
  std::filesystem::remove(file("edge-a.node.crt"));  // the key was written, the certificate was not
  write(file("edge-a.node.key.part"), "half");
  ASSERT_EQ(failure(ensure()), "");
  EXPECT_EQ(failure(check_certificate(node_files(file(""), "edge-a"), "edge-a.node")), "");
}

TEST_F(link_certificates, are_made_once_by_two_at_a_time) {
  std::string first, second;
  std::thread other([&] { first = failure(ensure()); });
  second = failure(ensure());
  other.join();
  EXPECT_EQ(first + second, "");
  EXPECT_EQ(failure(check_certificate(head_files(file("")), "head.demo")), "");
}

TEST_F(link_certificates, are_refused_by_file_when_broken) {
  ASSERT_TRUE(ensure());
  write(file("head.crt"), "-----BEGIN nothing");
  EXPECT_THAT(failure(ensure()), HasSubstr("head.crt holds no PEM certificate"));
}

TEST_F(link_certificates, are_refused_when_the_key_is_missing_or_another) {
  ASSERT_TRUE(ensure());
  const auto other = read(file("edge-b.node.key"));
  write(file("edge-a.node.key"), other);
  EXPECT_THAT(failure(ensure()), HasSubstr("edge-a.node.key is not the key of"));
  std::filesystem::remove(file("edge-a.node.key"));
  EXPECT_THAT(failure(ensure()), HasSubstr("cannot read"));
}

TEST_F(link_certificates, are_refused_when_others_can_read_the_key) {
  ASSERT_TRUE(ensure());
  ::chmod(file("head.key").c_str(), 0644);
  const auto checked = check_certificate(head_files(file("")), "head.demo");
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.failure().code, errc::forbidden);
  EXPECT_THAT(checked.failure().message, HasSubstr("head.key"));
}

TEST_F(link_certificates, survive_a_stop_at_any_point_of_their_replacement) {
  ASSERT_TRUE(ensure({"edge-a", "edge-b"}));
  const auto files = node_files(file(""), "edge-a");
  const auto old_key = read(files.key), old_certificate = read(files.certificate);
  ASSERT_TRUE(ensure({"edge-a", "edge-b"}));
  std::filesystem::remove(files.key);
  std::filesystem::remove(files.certificate);
  ASSERT_TRUE(ensure({"edge-a", "edge-b"}));
  const auto key = read(files.key), certificate = read(files.certificate);
  const auto next = [](const std::filesystem::path& of) { return of.string() + ".next"; };
  const auto usable = [&] { return failure(check_certificate(files, "edge-a.node")); };
  // A key alone is the rest of an attempt: the old pair holds.
  write(files.key, old_key);
  write(files.certificate, old_certificate);
  write(next(files.key), key);
  EXPECT_EQ(usable(), "");
  EXPECT_EQ(read(files.key), old_key);
  // Both are there: the new pair holds, whichever was moved already.
  ::chmod(next(files.key).c_str(), 0600);
  write(next(files.certificate), certificate);
  EXPECT_EQ(usable(), "");
  EXPECT_EQ(read(files.key), key);
  EXPECT_EQ(read(files.certificate), certificate);
  write(files.certificate, old_certificate);
  write(next(files.certificate), certificate);
  EXPECT_EQ(usable(), "") << "stopped between the two moves";
  EXPECT_EQ(read(files.certificate), certificate);
}

TEST_F(link_certificates, of_an_older_release_are_made_anew_with_their_site) {
  ASSERT_TRUE(ensure({"edge-a"}));
  const auto files = node_files(file(""), "edge-a");
  auto authority = x509::load_certificate(files.authority);
  auto secret = x509::load_key(file("ca.key"));
  const x509::identity signer{std::move(*secret), std::move(*authority)};
  auto key = x509::load_key(files.key);
  auto old =
      x509::make_certificate({x509::role::node, "edge-a.node", {}, 0, {}}, key->get(), &signer);
  write(files.certificate, *x509::to_pem(old->get()));
  EXPECT_EQ(*certificate_id(files.certificate), "");
  ASSERT_EQ(failure(ensure({"edge-a"})), "");
  EXPECT_EQ(certificate_id(files.certificate)->size(), 2 * certificate_id_bytes);
}

TEST_F(link_certificates, are_refused_for_another_cluster) {
  ASSERT_TRUE(ensure());
  const auto other = ensure_certificates(file(""), "prod", {});
  EXPECT_THAT(failure(other), HasSubstr("\"ca.demo\", not for \"ca.prod\""));
}

TEST_F(link_certificates, are_refused_when_another_authority_signed_them) {
  ASSERT_TRUE(ensure());
  auto files = head_files(file(""));
  files.authority = head_files(foreign_certificates()).authority;
  EXPECT_THAT(failure(check_certificate(files, "head.demo")), HasSubstr("is not signed by"));
}

TEST_F(link_certificates, refuse_names_that_mean_something_else) {
  for (const auto* name : {"../edge", "a,DNS:head.demo", "", ".hidden", "a b"}) {
    const auto made = ensure({name});
    ASSERT_FALSE(made) << name;
    EXPECT_EQ(made.failure().code, errc::bad_request) << name;
  }
  EXPECT_THAT(failure(ensure({std::string(80, 'x')})), HasSubstr("too long"));
}

}  // namespace
}  // namespace collm::link::testing
