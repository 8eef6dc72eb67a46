// A journal, a version store and a disk on which, from some call on, nothing is written any more.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "store/disk.hpp"
#include "store/round_journal.hpp"
#include "store/version_store.hpp"

namespace collm::testing_support {

/// Counts durable calls of all kinds; from the n-th on nothing is written any more.
struct power {
  int left = 1 << 30;
  bool gone = false;
  int made = 0;
  bool fails() {
    ++made;
    return gone = gone || left-- <= 0;
  }
  int calls() const { return made; }
};
inline const error power_cut{errc::io, "no space left on the device"};

class powered_journal final : public store::round_journal {
 public:
  powered_journal(std::unique_ptr<store::round_journal> on, power& p) : on_(std::move(on)), p_(p) {}
  result<void> append(const std::string& adapter, std::uint32_t round,
                      const std::vector<std::string>& records) override {
    if (p_.fails()) return power_cut;
    return on_->append(adapter, round, records);
  }
  result<std::vector<std::string>> read(const std::string& adapter, std::uint32_t round) override {
    return on_->read(adapter, round);
  }
  result<std::vector<std::uint32_t>> rounds(const std::string& adapter) override {
    return on_->rounds(adapter);
  }

 private:
  std::unique_ptr<store::round_journal> on_;
  power& p_;
};

/// The registry's store, whose transactions need power too.
class powered_versions final : public store::version_store {
 public:
  powered_versions(std::unique_ptr<store::version_store> on, power& p)
      : on_(std::move(on)), p_(p) {}
  result<store::version_row> add(const store::version_row& row) override {
    if (p_.fails()) return power_cut;
    return on_->add(row);
  }
  result<std::vector<store::version_row>> list() override { return on_->list(); }
  result<std::optional<store::version_row>> find(const version_id& id) override {
    return on_->find(id);
  }
  result<store::version_row> promote(const version_id& id, const std::string& verdict) override {
    if (p_.fails()) return power_cut;
    return on_->promote(id, verdict);
  }
  result<store::version_row> move(const version_id& id, store::version_state to,
                                  const std::string& verdict) override {
    if (p_.fails()) return power_cut;
    return on_->move(id, to, verdict);
  }
  result<store::version_row> rollback(const std::string& name) override {
    if (p_.fails()) return power_cut;
    return on_->rollback(name);
  }
  result<store::version_row> retire(const version_id& id) override {
    if (p_.fails()) return power_cut;
    return on_->retire(id);
  }
  result<void> set_lineage(const version_id& id, const store::version_lineage& l) override {
    if (p_.fails()) return power_cut;
    return on_->set_lineage(id, l);
  }
  result<std::optional<store::version_lineage>> lineage(const version_id& id) override {
    return on_->lineage(id);
  }
  result<std::string> verdict(const version_id& id) override { return on_->verdict(id); }

 private:
  std::unique_ptr<store::version_store> on_;
  power& p_;
};

class powered_disk final : public store::disk {
 public:
  explicit powered_disk(power& p) : p_(p) {}
  result<void> write(const store::open_file& to, const std::filesystem::path& file,
                     std::span<const std::byte> bytes) override {
    if (!p_.fails()) return disk::write(to, file, bytes);
    if (auto half = disk::write(to, file, bytes.first(bytes.size() / 2)); !half) return half;
    return power_cut;
  }
  result<void> rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    if (p_.fails()) return power_cut;
    return disk::rename(from, to);
  }

 private:
  power& p_;
};

}  // namespace collm::testing_support
