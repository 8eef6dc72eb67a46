// A folder of its own for each test of store/, and a disk whose n-th call fails.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "store/disk.hpp"

namespace collm::store {

class store_folder : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() /
              ("collm-store-" + std::to_string(::getpid()) + "-" + info->test_suite_name() + "-" +
               info->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  static void write(const std::filesystem::path& file, const std::string& text) {
    std::ofstream(file, std::ios::binary) << text;
  }
  static void append(const std::filesystem::path& file, const std::string& text) {
    std::ofstream(file, std::ios::binary | std::ios::app) << text;
  }
  /// Turns one bit of a file's byte `at`.
  static void damage(const std::filesystem::path& file, std::streamoff at) {
    std::fstream f(file, std::ios::binary | std::ios::in | std::ios::out);
    f.seekg(at);
    const char c = static_cast<char>(f.get() ^ 1);
    f.seekp(at);
    f.put(c);
  }

  std::filesystem::path folder_;
};

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

/// Stops working at its n-th call: as a full disk does, after half of a write.
class failing_disk final : public disk {
 public:
  explicit failing_disk(int fails_at) : left_(fails_at) {}
  int calls() const { return calls_; }

  result<open_file> create(const std::filesystem::path& file, bool append) override {
    if (fails()) return full(file);
    return disk::create(file, append);
  }
  result<void> write(const open_file& to, const std::filesystem::path& file,
                     std::span<const std::byte> bytes) override {
    if (!fails()) return disk::write(to, file, bytes);
    if (auto half = disk::write(to, file, bytes.first(bytes.size() / 2)); !half) return half;
    return full(file);
  }
  result<void> sync(const open_file& of, const std::filesystem::path& file) override {
    if (fails()) return full(file);
    return disk::sync(of, file);
  }
  result<void> rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    if (fails()) return full(to);
    return disk::rename(from, to);
  }

 private:
  bool fails() {
    ++calls_;
    return left_-- <= 0;
  }
  static error full(const std::filesystem::path& file) {
    return {errc::io, "cannot write " + file.string() + ": No space left on device"};
  }
  int left_, calls_ = 0;
};

}  // namespace collm::store
