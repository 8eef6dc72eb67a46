// The ledger's arithmetic, against sums made by hand.
#include "deploy/ledger.hpp"

#include <gtest/gtest.h>

#include "deploy/memory_rates.hpp"
#include "engine/kernels/kernels.hpp"

namespace collm::deploy {
namespace {

/// Two layers of width 64, small enough to add up by hand.
engine::model_shape tiny() {
  engine::model_shape s;
  s.layers = 2, s.hidden = 64, s.ffn = 128, s.heads = 4, s.kv_heads = 2, s.head_dim = 16,
  s.vocab = 100, s.context = 256;
  return s;
}

// A layer: q 64x64, k and v 64x32, o 64x64, gate and up 64x128, down 128x64.
constexpr std::uint64_t layer_weights = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128;
constexpr std::uint64_t spellings = 100 * rates::vocabulary_bytes;
constexpr std::uint64_t norm_floats = (2 * 2 + 1) * 64;

TEST(ledger, counts_an_f32_base_float_by_float) {
  EXPECT_EQ(base_bytes(tiny(), engine::precision::f32),
            4 * (2 * layer_weights + 100 * 64 + norm_floats) + spellings);
}

TEST(ledger, counts_a_separate_output_matrix) {
  engine::model_shape untied = tiny();
  untied.tied_embeddings = false;
  EXPECT_EQ(base_bytes(untied, engine::precision::f32) - base_bytes(tiny(), engine::precision::f32),
            4u * 100 * 64);
}

TEST(ledger, counts_an_int8_base_with_outlier_columns_and_row_constants) {
  // Rows are 64 wide but down's 128; one input in sixteen, in steps of sixteen, is held twice, of
  // down's none; 8 bytes of constants a row, 4 of each outlier's index.
  const std::uint64_t rows_of_64 = 64 + 32 + 32 + 64 + 128 + 128, rows_of_128 = 64;
  const std::uint64_t layer =
      rows_of_64 * (64 + 16 + 8) + rows_of_128 * (128 + 8) + 4 * (3 * 16 + 128);
  const std::uint64_t embedding = 112 * (64 + 16) + 2 * 448 + 4 * 16;  // 100 rows in tiles of 16
  EXPECT_EQ(base_bytes(tiny(), engine::precision::int8),
            2 * layer + embedding + 4 * norm_floats + spellings);
}

TEST(ledger, counts_the_vectors_that_only_some_architectures_have) {
  engine::model_shape s = tiny();
  const auto plain = base_bytes(s, engine::precision::f32);
  s.qkv_bias = true;
  EXPECT_EQ(base_bytes(s, engine::precision::f32) - plain, 4u * 2 * (64 + 32 + 32));
  s.qkv_bias = false, s.head_norms = true, s.post_norms = true;
  EXPECT_EQ(base_bytes(s, engine::precision::f32) - plain, 4u * 2 * (2 * 16 + 2 * 64));
}

TEST(ledger, counts_two_tables_of_angles_where_some_layers_have_a_window) {
  engine::model_shape s = tiny();
  s.window = 32;
  EXPECT_EQ(activation_bytes(s, 16, 4, 1) - activation_bytes(tiny(), 16, 4, 1), 4u * 256 * 16);
}

TEST(ledger, counts_a_version_by_its_targets) {
  EXPECT_EQ(version_bytes(tiny(), {8, {"q"}}), 6u * 2 * 8 * (64 + 64));
  EXPECT_EQ(version_bytes(tiny(), {8, {"k", "down"}}), 6u * 2 * 8 * ((64 + 32) + (128 + 64)));
  EXPECT_EQ(version_bytes(tiny(), {16, {"k", "down"}}),
            2 * version_bytes(tiny(), {8, {"k", "down"}}));
}

// The packed file of SmolLM2-135M has 146,392,384 bytes in int8 and 538,998,016 in f32.
TEST(ledger, estimates_smollm2_within_one_percent_of_its_packed_file) {
  engine::model_shape s;
  s.layers = 30, s.hidden = 576, s.ffn = 1536, s.heads = 9, s.kv_heads = 3, s.head_dim = 64,
  s.vocab = 49152, s.context = 8192;
  EXPECT_NEAR(double(base_bytes(s, engine::precision::int8)), 146392384.0, 1463923.0);
  EXPECT_NEAR(double(base_bytes(s, engine::precision::f32)), 538998016.0, 5389980.0);
}

TEST(ledger, grows_activations_with_rows_outputs_and_threads) {
  const auto bytes = activation_bytes(tiny(), 16, 4, 1);
  EXPECT_EQ(activation_bytes(tiny(), 16, 5, 1) - bytes, 4u * 100);
  EXPECT_EQ(activation_bytes(tiny(), 16, 4, 2) - bytes,
            4u * 256 * engine::attention_queries + 24u * 100 + (33u << 10));
  // A row: residual 64, widest input 128, widest output 2 * 128 floats, and the input again in
  // bytes with 16 outliers.
  EXPECT_EQ(activation_bytes(tiny(), 17, 4, 1) - bytes, 4u * (64 + 128 + 256) + 128 + 128);
}

ledger_input two_nodes() {
  ledger_input in;
  in.shape = tiny();
  in.replicas = {{1000, 1}, {3000, 2}};
  in.adapters = {{8, {"q"}}, {8, {"v"}}};
  in.processes = 3, in.engine_processes = 2, in.gateways = 3;
  return in;
}

TEST(ledger, has_a_row_for_training_only_where_an_adapter_learns) {
  ledger_input in = two_nodes();
  in.learning = {in.adapters[0], in.adapters[0]};
  const auto rows = make_ledger(in);
  ASSERT_EQ(rows.size(), 6u);
  EXPECT_EQ(rows[5].name, "training");
  EXPECT_EQ(rows[5].bytes, 4 * shadow_bytes(in.shape, in.precision, in.adapters[0], 1024))
      << "two shadows in each of two replicas";
  EXPECT_GT(shadow_bytes(tiny(), engine::precision::f32, in.adapters[0], 1024),
            shadow_bytes(tiny(), engine::precision::int8, in.adapters[0], 1024));
}

TEST(ledger, has_the_same_five_rows_where_none_learns) {
  const auto rows = make_ledger(two_nodes());
  ASSERT_EQ(rows.size(), 5u);
  const char* names[] = {"base", "kv", "versions", "activations", "buffers"};
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(rows[i].name, names[i]);
    EXPECT_EQ(rows[i].shared, i == 0) << "only the base is one copy a machine";
  }
}

TEST(ledger, adds_up_replicas_processes_and_versions) {
  const ledger_input in = two_nodes();
  const auto rows = make_ledger(in);
  EXPECT_EQ(rows[0].bytes, base_bytes(in.shape, in.precision))
      << "shared: once, whatever the number of replicas";
  EXPECT_EQ(rows[1].bytes, 4000u);
  EXPECT_EQ(rows[2].bytes,
            (version_bytes(in.shape, in.adapters[0]) + version_bytes(in.shape, in.adapters[1])) *
                resident_versions_max * 2);
  EXPECT_EQ(rows[3].bytes,
            activation_bytes(in.shape, 512, 64, 1) + activation_bytes(in.shape, 512, 64, 2));
  EXPECT_EQ(rows[4].bytes, buffer_bytes(in));
  std::uint64_t all = 0;
  for (const ledger_row& row : rows) all += row.bytes;
  EXPECT_EQ(sum(rows), all);
}

TEST(ledger, charges_buffers_for_tls_and_for_bodies_under_way) {
  ledger_input in = two_nodes();
  const auto before = buffer_bytes(in);
  in.tls_gateways = 2;
  EXPECT_EQ(buffer_bytes(in) - before, 2 * in.bounds.connections_max * rates::tls_bytes);
  in.tls_gateways = 0;
  in.bounds.request_bytes_max += 1;
  EXPECT_EQ(buffer_bytes(in) - before, 3u * in.bounds.bodies_max);
}

TEST(ledger, charges_buffers_for_limits) {
  ledger_input in = two_nodes();
  const auto before = buffer_bytes(in);
  in.bounds.connections_max += 1;
  EXPECT_EQ(buffer_bytes(in) - before, 3 * (in.bounds.header_bytes_max + rates::socket_bytes));
  in.bounds.connections_max -= 1;
  in.bounds.queued_requests_max += 1;
  EXPECT_EQ(buffer_bytes(in) - before, 2ull * in.bounds.prompt_tokens_max * sizeof(std::int32_t));
  in.bounds.queued_requests_max -= 1;
  in.processes += 1;
  EXPECT_EQ(buffer_bytes(in) - before, rates::process_bytes);
}

TEST(ledger, needs_no_versions_without_adapters) {
  ledger_input in = two_nodes();
  in.adapters.clear();
  EXPECT_EQ(make_ledger(in)[2].bytes, 0u);
}

}  // namespace
}  // namespace collm::deploy
