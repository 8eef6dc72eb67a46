// Block pool and prefix cache: conservation under random use, eviction in order of last use, and no
// foreign KV, not even when hashes collide on purpose.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "engine/cache/prefix_cache.hpp"

namespace collm::engine {
namespace {

using tokens = std::vector<std::int32_t>;

void expect_conserved(const block_pool& pool) {
  ASSERT_EQ(pool.free() + pool.referenced() + pool.cached(), pool.total());
}

TEST(block_pool, gives_every_block_once_and_then_none) {
  block_pool pool(5);
  std::set<block_id> taken;
  for (int i = 0; i < 5; ++i) taken.insert(*pool.take());
  EXPECT_EQ(taken.size(), 5u);
  EXPECT_FALSE(pool.take());
  pool.release(3);
  EXPECT_EQ(pool.take(), 3u);
  expect_conserved(pool);
}

TEST(block_pool, a_shared_block_is_free_after_its_last_release) {
  block_pool pool(1);
  const block_id b = *pool.take();
  pool.retain(b);
  pool.release(b);
  EXPECT_EQ(pool.free(), 0u);
  pool.release(b);
  EXPECT_EQ(pool.free(), 1u);
}

TEST(block_pool, evicts_kept_blocks_in_order_of_their_last_release) {
  block_pool pool(3);
  for (block_id b = 0; b < 3; ++b) {
    ASSERT_EQ(pool.take(), b);
    pool.keep(b);
  }
  pool.release(1);
  pool.release(0);
  pool.release(2);
  pool.retain(1);
  pool.release(1);  // used again: the newest now
  EXPECT_EQ(pool.cached(), 3u);
  EXPECT_EQ(pool.evict(), 0u);
  EXPECT_EQ(pool.evict(), 2u);
  EXPECT_EQ(pool.evict(), 1u);
  EXPECT_FALSE(pool.evict());
  EXPECT_EQ(pool.free(), 3u);
  EXPECT_FALSE(pool.kept(0));
}

TEST(block_pool_death, a_block_released_twice_is_our_bug) {
  block_pool pool(2);
  const block_id b = *pool.take();
  pool.release(b);
  EXPECT_DEATH(pool.release(b), "invariant broken");
  EXPECT_DEATH(pool.retain(b), "invariant broken");
  EXPECT_DEATH(pool.keep(b), "invariant broken");
  EXPECT_DEATH(pool.release(7), "invariant broken");
}

/// The same rules with the plainest data: a count a block and one list of cached ones.
TEST(block_pool, behaves_as_a_simple_model_under_random_use) {
  constexpr std::uint32_t size = 12;
  block_pool pool(size);
  std::vector<std::uint32_t> references(size, 0);
  std::vector<bool> kept(size, false);
  std::vector<block_id> cached;
  std::mt19937 random(5);
  for (int i = 0; i < 20000; ++i) {
    const block_id b = random() % size;
    switch (random() % 5) {
      case 0:
        if (const auto got = pool.take()) {
          ASSERT_EQ(references[*got], 0u);
          ASSERT_FALSE(kept[*got]);
          references[*got] = 1;
        } else {
          for (block_id each = 0; each < size; ++each)
            ASSERT_TRUE(references[each] > 0 || kept[each]);
        }
        break;
      case 1:
        if (references[b] == 0 && !kept[b]) break;
        pool.retain(b);
        ++references[b];
        std::erase(cached, b);
        break;
      case 2:
        if (references[b] == 0) break;
        pool.release(b);
        if (--references[b] == 0 && kept[b]) cached.push_back(b);
        break;
      case 3:
        if (references[b] == 0) break;
        pool.keep(b);
        kept[b] = true;
        break;
      default: {
        const auto got = pool.evict();
        ASSERT_EQ(got.has_value(), !cached.empty());
        if (!got) break;
        ASSERT_EQ(*got, cached.front());
        cached.erase(cached.begin());
        kept[*got] = false;
      }
    }
    expect_conserved(pool);
    ASSERT_EQ(pool.cached(), cached.size());
    ASSERT_EQ(pool.references(b), references[b]);
  }
}

constexpr std::uint32_t block_tokens = 4;

tokens run_of(std::int32_t first, std::uint32_t count = block_tokens) {
  tokens t(count);
  std::iota(t.begin(), t.end(), first);
  return t;
}

prefix_seed seed_of(std::string_view adapter = "none", std::uint64_t salt = 0) {
  return {.base_digest = "b",
          .precision = "int8",
          .kv_type = "f32",
          .adapter_digest = adapter,
          .salt = salt};
}

/// Publishes one chain and releases it.
std::vector<block_id> publish_chain(prefix_cache& cache, const prefix_seed& seed,
                                    const std::vector<tokens>& chain) {
  prefix_cursor at = cache.start(seed);
  std::vector<block_id> table;
  for (const tokens& t : chain) table.push_back(cache.publish(at, *cache.allocate(), t));
  cache.release(table);
  return table;
}

std::uint32_t found_of(prefix_cache& cache, const prefix_seed& seed,
                       const std::vector<tokens>& chain) {
  prefix_cursor at = cache.start(seed);
  std::vector<block_id> table;
  for (const tokens& t : chain) {
    const auto block = cache.find(at, t);
    if (!block) break;
    table.push_back(*block);
  }
  cache.release(table);
  return static_cast<std::uint32_t>(table.size());
}

TEST(prefix_cache, finds_a_published_chain_and_stops_where_it_parts) {
  prefix_cache cache(8, block_tokens);
  const auto table = publish_chain(cache, seed_of(), {run_of(1), run_of(5), run_of(9)});
  EXPECT_EQ(found_of(cache, seed_of(), {run_of(1), run_of(5), run_of(9), run_of(13)}), 3u);
  EXPECT_EQ(found_of(cache, seed_of(), {run_of(1), run_of(6), run_of(9)}), 1u);
  EXPECT_EQ(found_of(cache, seed_of(), {run_of(5)}), 0u);  // the right tokens at another place
  prefix_cursor at = cache.start(seed_of());
  EXPECT_EQ(cache.find(at, run_of(1)), table[0]);
}

TEST(prefix_cache, everything_in_the_seed_parts_chains) {
  prefix_cache cache(8, block_tokens);
  publish_chain(cache, seed_of(), {run_of(1)});
  EXPECT_EQ(found_of(cache, seed_of(), {run_of(1)}), 1u);
  EXPECT_EQ(found_of(cache, seed_of("digest of a"), {run_of(1)}), 0u);
  EXPECT_EQ(found_of(cache, seed_of("none", 1), {run_of(1)}), 0u);
  for (const auto change :
       {&prefix_seed::base_digest, &prefix_seed::precision, &prefix_seed::kv_type}) {
    prefix_seed other = seed_of();
    other.*change = "other";
    EXPECT_EQ(found_of(cache, other, {run_of(1)}), 0u);
  }
  prefix_seed moved = seed_of();  // the same letters, divided otherwise
  moved.base_digest = "bi";
  moved.precision = "nt8";
  EXPECT_EQ(found_of(cache, moved, {run_of(1)}), 0u);
}

TEST(prefix_cache, two_who_computed_the_same_end_with_one_block) {
  prefix_cache cache(4, block_tokens);
  prefix_cursor a = cache.start(seed_of()), b = cache.start(seed_of());
  const block_id mine = *cache.allocate(), theirs = *cache.allocate();
  EXPECT_EQ(cache.publish(a, mine, run_of(1)), mine);
  EXPECT_EQ(cache.publish(b, theirs, run_of(1)), mine);
  EXPECT_EQ(cache.pool().references(mine), 2u);
  EXPECT_EQ(cache.pool().free(), 3u);
}

TEST(prefix_cache, drops_the_tail_before_the_head_and_the_old_before_the_new) {
  prefix_cache cache(4, block_tokens);
  publish_chain(cache, seed_of("old"), {run_of(1), run_of(5)});
  publish_chain(cache, seed_of("new"), {run_of(1), run_of(5)});
  const auto next = [&] { return *cache.allocate(); };
  next();
  EXPECT_EQ(found_of(cache, seed_of("old"), {run_of(1), run_of(5)}), 1u);
  next();
  // The look at "old" made its head the newest, so "new" loses its tail first.
  EXPECT_EQ(found_of(cache, seed_of("new"), {run_of(1), run_of(5)}), 1u);
  next();
  next();
  EXPECT_FALSE(cache.allocate());
  EXPECT_EQ(cache.available(), 0u);
}

TEST(prefix_cache, a_referenced_block_is_never_dropped) {
  prefix_cache cache(2, block_tokens);
  publish_chain(cache, seed_of(), {run_of(1)});
  prefix_cursor at = cache.start(seed_of());
  const block_id held = *cache.find(at, run_of(1));
  const block_id other = *cache.allocate();
  EXPECT_NE(other, held);
  EXPECT_FALSE(cache.allocate());
}

// One hash for all: every lookup collides.
block_hash constant_hash(const block_hash&, std::span<const std::int32_t>) { return {}; }
// Four hashes for all: chains collide at their heads and meet again behind.
block_hash two_bit_hash(const block_hash& parent, std::span<const std::int32_t> t) {
  block_hash h{};
  h[0] = static_cast<std::uint8_t>((parent[0] * 3 + t[0] + 2 * t[3]) & 3);
  return h;
}

TEST(prefix_cache, a_collision_serves_nothing_foreign) {
  prefix_cache cache(8, block_tokens, constant_hash);
  publish_chain(cache, seed_of(), {run_of(1)});
  EXPECT_EQ(found_of(cache, seed_of(), {run_of(1)}), 1u);
  EXPECT_EQ(found_of(cache, seed_of(), {run_of(2)}), 0u);
  EXPECT_EQ(found_of(cache, seed_of("other"), {run_of(1)}), 0u);
  EXPECT_EQ(found_of(cache, seed_of(), {run_of(1), run_of(1)}), 1u);
  publish_chain(cache, seed_of(), {run_of(2), run_of(3)});  // taken hash: stays private
  EXPECT_EQ(found_of(cache, seed_of(), {run_of(2)}), 0u);
  EXPECT_EQ(found_of(cache, seed_of(), {run_of(1)}), 1u);
  expect_conserved(cache.pool());
}

/// Sequences come, share, grow, go; the model remembers what was computed into each block, which is
/// what a hit must give back.
void storm(block_hasher hasher, bool expect_hits) {
  constexpr std::uint32_t size = 24;
  prefix_cache cache(size, block_tokens, hasher);
  using content = std::pair<std::string, std::vector<std::int32_t>>;  // seed and all tokens up to
                                                                      // and with the block
  std::map<block_id, content> computed;
  struct runner {
    std::string adapter;
    tokens all;
    prefix_cursor at;
    std::vector<block_id> table;
  };
  std::vector<runner> running;
  std::mt19937 random(9);
  std::uint32_t hits = 0;
  for (int i = 0; i < 6000; ++i) {
    if (running.size() < 5 && random() % 3 == 0) {
      const std::string adapter = random() % 2 == 0 ? "a" : "b";
      running.push_back({adapter, {}, cache.start(seed_of(adapter)), {}});
    } else if (!running.empty() && random() % 8 == 0) {
      const std::size_t gone = random() % running.size();
      cache.release(running[gone].table);
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(gone));
    } else if (!running.empty()) {
      runner& r = running[random() % running.size()];
      const tokens next = run_of(static_cast<std::int32_t>(random() % 3));
      r.all.insert(r.all.end(), next.begin(), next.end());
      const content now = {r.adapter, r.all};
      if (const auto block = cache.find(r.at, next)) {
        ASSERT_EQ(computed.at(*block), now);
        r.table.push_back(*block);
        ++hits;
      } else if (const auto fresh = cache.allocate()) {
        computed[*fresh] = now;
        const block_id kept = cache.publish(r.at, *fresh, next);
        ASSERT_EQ(computed.at(kept), now);
        r.table.push_back(kept);
      } else {
        ASSERT_EQ(cache.available(), 0u);
        r.all.resize(r.all.size() - next.size());
        cache.release(r.table);
        r = {r.adapter, {}, cache.start(seed_of(r.adapter)), {}};
      }
    }
    expect_conserved(cache.pool());
  }
  if (expect_hits) {
    EXPECT_GT(hits, 300u);
  }
}

TEST(prefix_cache, a_storm_of_sequences_gets_only_what_was_computed_for_it) {
  storm(hash_block, true);
}
TEST(prefix_cache, even_with_four_hashes_for_all) { storm(two_bit_hash, false); }

TEST(prefix_cache, every_chain_found_has_its_head) {
  // A child outlives its parent nowhere: what is cached can be found from the start.
  prefix_cache cache(10, block_tokens);
  std::mt19937 random(3);
  std::vector<std::vector<tokens>> published;
  for (int i = 0; i < 300; ++i) {
    std::vector<tokens> chain;
    for (std::uint32_t n = 1 + random() % 4; n > 0; --n)
      chain.push_back(run_of(static_cast<std::int32_t>(random() % 4)));
    prefix_cursor at = cache.start(seed_of());
    std::vector<block_id> table;
    for (const tokens& t : chain) {
      const auto known = cache.find(at, t);
      table.push_back(known ? *known : cache.publish(at, *cache.allocate(), t));
    }
    cache.release(table);
    published.push_back(chain);
    std::set<std::vector<tokens>> reachable;
    for (const auto& each : published) {
      const std::uint32_t found = found_of(cache, seed_of(), each);
      for (std::uint32_t n = 1; n <= found; ++n) reachable.insert({each.begin(), each.begin() + n});
    }
    ASSERT_EQ(reachable.size(), cache.pool().cached());
  }
}

}  // namespace
}  // namespace collm::engine
