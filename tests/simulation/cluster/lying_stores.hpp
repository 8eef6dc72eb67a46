// The head's stores as tests break them: what they tell is not what they hold.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "federation/round_record.hpp"
#include "store/round_journal.hpp"
#include "store/version_store.hpp"
#include "tests/simulation/cluster/world.hpp"

namespace collm::simulation {

class lying_versions final : public store::version_store {
 public:
  using row = store::version_row;
  lying_versions(world& in, std::unique_ptr<store::version_store> on)
      : in_(in), on_(std::move(on)) {}
  result<std::vector<row>> list() override {
    auto rows = on_->list();
    if (!rows || rows->size() < 2) return rows;
    if (in_.lies(sabotage::reused_number)) rows->front().digest = "another";
    if (in_.lies(sabotage::two_serving))
      for (auto& r : *rows) r.state = store::version_state::serving;
    return rows;
  }
  result<row> add(const row& r) override { return on_->add(r); }
  result<std::optional<row>> find(const version_id& id) override { return on_->find(id); }
  result<row> promote(const version_id& id, const std::string& verdict) override {
    return on_->promote(id, verdict);
  }
  result<row> move(const version_id& id, store::version_state to,
                   const std::string& verdict) override {
    return on_->move(id, to, verdict);
  }
  result<row> rollback(const std::string& name) override { return on_->rollback(name); }
  result<row> retire(const version_id& id) override { return on_->retire(id); }
  result<void> set_lineage(const version_id& id, const store::version_lineage& l) override {
    return on_->set_lineage(id, l);
  }
  result<std::optional<store::version_lineage>> lineage(const version_id& id) override {
    return on_->lineage(id);
  }
  result<std::string> verdict(const version_id& id) override { return on_->verdict(id); }

 private:
  world& in_;
  std::unique_ptr<store::version_store> on_;
};

class lying_journal final : public store::round_journal {
 public:
  lying_journal(world& in, std::unique_ptr<store::round_journal> on)
      : in_(in), on_(std::move(on)) {}
  result<void> append(const std::string& adapter, std::uint32_t round,
                      const std::vector<std::string>& records) override {
    auto all = records;
    for (const auto& r : records) {
      const auto known = federation::record_of(r);
      const bool accepts = known && known->kind == federation::record_kind::accepted;
      if (accepts && in_.breaks(sabotage::double_update)) all.push_back(r);
    }
    return on_->append(adapter, round, all);
  }
  result<std::vector<std::string>> read(const std::string& adapter, std::uint32_t round) override {
    auto records = on_->read(adapter, round);
    if (records && records->size() > 4 && in_.breaks(sabotage::forgetful_journal))
      records->erase(records->begin() + 1);
    return records;
  }
  result<std::vector<std::uint32_t>> rounds(const std::string& adapter) override {
    return on_->rounds(adapter);
  }

 private:
  world& in_;
  std::unique_ptr<store::round_journal> on_;
};

}  // namespace collm::simulation
