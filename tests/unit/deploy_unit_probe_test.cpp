// How large training's units may be: measured, kept, refused by name.
#include <gmock/gmock.h>

#include <fstream>

#include "deploy/unit_probe.hpp"
#include "tests/support/modelled_trainer.hpp"
#include "tests/support/store_folder.hpp"

namespace collm::deploy {
namespace {

using coordinator::unit_sizes;
using engine::unit_kind;
using ::testing::HasSubstr;

/// A machine on which a row takes so long, and each first unit of a kind ten times that.
struct machine {
  double now = 0, row_ms = 0.1, step_ms = 1, head_row_ms = 0.1;
  std::uint32_t measured = 0;

  result<coordinator::unit_times> measure(unit_sizes sizes) {
    ++measured;
    testing_support::modelled_trainer trainer;
    trainer.window_tokens = sizes.window_tokens;
    trainer.head_tokens = sizes.head_tokens;
    bool cold[engine::unit_kinds_count] = {true, true, true, true};
    trainer.computes = [&](const engine::training_unit& u) {
      const double ms = u.kind == unit_kind::optimizer_step ? step_ms
                        : u.kind == unit_kind::loss_head    ? u.tokens * head_row_ms
                                                            : u.tokens * row_ms;
      bool& first = cold[static_cast<std::size_t>(u.kind)];
      const bool once = u.kind == unit_kind::optimizer_step || u.kind == unit_kind::loss_head;
      now += first && !once ? 10 * ms : ms;
      first = false;
    };
    return measure_units(trainer, sizes.window_tokens, [&] { return now; });
  }
  result<unit_sizes> fit(double unit_max_ms) {
    return fitting_sizes(unit_max_ms, {128, 64}, [this](unit_sizes s) { return measure(s); });
  }
};

TEST(unit_probe, keeps_the_size_that_ends_in_time_however_slow_the_first_unit_was) {
  EXPECT_EQ(*machine().fit(20), (unit_sizes{128, 64}));
}

TEST(unit_probe, halves_what_is_too_long_and_measures_again) {
  machine slow{.row_ms = 0.4};  // 51 ms of 128 rows
  EXPECT_EQ(slow.fit(20)->window_tokens, 32u);
  EXPECT_EQ(slow.measured, 3u);
}

TEST(unit_probe, a_head_may_end_with_fewer_rows_than_a_layer) {
  machine slow{.head_row_ms = 2};
  EXPECT_EQ(*slow.fit(20), (unit_sizes{128, 8}));
}

TEST(unit_probe, refuses_by_name_what_is_too_long_at_the_smallest_size) {
  machine slow{.row_ms = 2};
  const auto refused = slow.fit(20);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.failure().message, HasSubstr("layer_forward of 16 tokens takes"));
  machine heavy{.step_ms = 50};
  EXPECT_THAT(heavy.fit(20).failure().message, HasSubstr("optimizer_step"));
  EXPECT_EQ(heavy.measured, 1u) << "fewer rows are no help";
}

class kept_sizes : public store::store_folder {
 protected:
  result<unit_sizes> get(const std::string& what) {
    return kept_unit_sizes(folder_ / "units", what, [this]() -> result<unit_sizes> {
      ++measured_;
      return unit_sizes{64, 32};
    });
  }
  int measured_ = 0;
};

TEST_F(kept_sizes, are_measured_once_for_the_same_thing) {
  EXPECT_EQ(*get("base a"), (unit_sizes{64, 32}));
  EXPECT_EQ(*get("base a"), (unit_sizes{64, 32}));
  EXPECT_EQ(measured_, 1);
  (void)get("base b");
  EXPECT_EQ(measured_, 2);
}

TEST_F(kept_sizes, of_a_damaged_file_are_measured_anew) {
  for (const char* text :
       {"", "base a\n", "base a\n17 0\n", "base a\n20 8\n", "base a\n64 6\n", "base a\nx y\n"}) {
    std::ofstream(folder_ / "units") << text;
    EXPECT_EQ(*get("base a"), (unit_sizes{64, 32})) << text;
  }
  EXPECT_EQ(measured_, 6);
}

}  // namespace
}  // namespace collm::deploy
