// What deploy/ gives the shadows: samples from rows, adapters as rows, an honest ledger row.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "deploy/adapter_row.hpp"
#include "deploy/ledger.hpp"
#include "deploy/training_samples.hpp"
#include "engine/adapter/adapter.hpp"
#include "federation/strategy.hpp"
#include "tests/support/tiny_model.hpp"

namespace collm::deploy {
namespace {

namespace tiny = engine::tiny;

engine::base_ptr base_of(engine::precision p) { return tiny::open_tiny(p); }

TEST(adapter_row, comes_back_as_the_same_version) {
  const auto base = base_of(engine::precision::int8);
  const auto made = engine::initial_adapter(*base, 4, 8, {"q", "v", "down"}, 3);
  ASSERT_TRUE(made);
  auto row = row_of(**made);
  const auto shape = shape_of(**made);
  EXPECT_EQ(row.size(), shape.count());
  const auto same = adapter_of_row(**made, row);
  ASSERT_TRUE(same);
  EXPECT_EQ((*same)->digest, (*made)->digest);
  row.back() += 1;
  const auto other = adapter_of_row(**made, row);
  ASSERT_TRUE(other);
  EXPECT_NE((*other)->digest, (*made)->digest);
  row.pop_back();
  EXPECT_FALSE(adapter_of_row(**made, row));
}

/// federation's places and the trainer's factors name the same numbers.
TEST(adapter_row, has_its_factors_where_federation_looks) {
  const auto base = base_of(engine::precision::int8);
  const auto made = engine::initial_adapter(*base, 4, 8, {"q", "k", "up"}, 3);
  const auto row = row_of(**made);
  const auto at = federation::places(shape_of(**made), federation::trained_factors::both);
  const auto factors = engine::adapter_factors(**made);
  ASSERT_EQ(factors.size(), 2 * at.size());
  for (std::size_t i = 0; i < at.size(); ++i) {
    EXPECT_FALSE(factors[2 * i].is_b);
    EXPECT_TRUE(std::equal(factors[2 * i].values.begin(), factors[2 * i].values.end(),
                           row.begin() + static_cast<std::ptrdiff_t>(at[i].a)));
    EXPECT_TRUE(std::equal(factors[2 * i + 1].values.begin(), factors[2 * i + 1].values.end(),
                           row.begin() + static_cast<std::ptrdiff_t>(at[i].b)));
  }
}

TEST(ledger, counts_a_version_as_the_engine_does) {
  for (const auto p : {engine::precision::int8, engine::precision::f32}) {
    const auto base = base_of(p);
    const std::vector<std::string> targets = {"q", "k", "v", "o", "gate", "up", "down"};
    for (const std::uint32_t rank : {1u, 8u}) {
      const auto made = engine::initial_adapter(*base, rank, 16, targets, 3);
      ASSERT_TRUE(made);
      EXPECT_EQ(version_bytes(base->shape(), {rank, targets}), engine::adapter_bytes(**made));
    }
  }
}

TEST(ledger, declares_no_less_for_a_shadow_than_the_trainer_does) {
  for (const auto p : {engine::precision::int8, engine::precision::f32}) {
    const auto base = base_of(p);
    const std::vector<std::string> targets = {"q", "k", "v", "o", "gate", "up", "down"};
    const auto made = engine::initial_adapter(*base, 8, 16, targets, 3);
    for (const std::uint32_t tokens : {256u, 1024u}) {
      engine::training_options o;
      o.batch_tokens = tokens;
      o.sample_tokens = std::min(tokens, 512u);
      const auto declared = engine::plan_training(*base, **made, o).total();
      EXPECT_GE(shadow_bytes(base->shape(), p, {8, targets}, tokens), declared) << tokens;
    }
  }
}

}  // namespace
}  // namespace collm::deploy
