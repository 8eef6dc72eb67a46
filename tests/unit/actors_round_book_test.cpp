// Rounds that left memory, and what comes of their tasks.
#include <gtest/gtest.h>

#include "actors/update_intake.hpp"
#include "store/digest.hpp"
#include "tests/support/federated_cohort.hpp"
#include "tests/support/store_folder.hpp"

namespace collm::actors {
namespace {

namespace fed = federation;

class old_rounds : public store::store_folder {};

TEST_F(old_rounds, count_no_update_of_fedbuff_that_may_have_counted_before) {
  fed::strategy how;
  how.fedbuff = true;
  std::shared_ptr<store::round_journal> journal =
      std::move(*store::open_round_journal(folder_ / "rounds.db"));
  round_book book("assistant", journal);
  double now = 0;
  fed::round_setup setup{.parent_digest = "initial",
                         .trained = fed::trained_in(how, 0),
                         .quorum = 1,
                         .deadline_ms = 1000,
                         .fedbuff = true};
  setup.participants.assign(8000, {"", 1});  // so that few rounds fill the memory
  for (std::size_t i = 0; i < setup.participants.size(); ++i)
    setup.participants[i].client = "edge-" + std::to_string(i);
  for (int round = 0; round < 10; ++round) {
    if (round > 0) {
      ASSERT_TRUE(book.tell(fed::time_passed{}, now += 2000)) << "void";
    }
    ASSERT_TRUE(book.start(setup, now)) << round;
    ASSERT_TRUE(book.tell(fed::tasks_sent{}, now));
  }
  ASSERT_TRUE(book.find(1)) << "the journal has it";
  ASSERT_TRUE(book.forgotten(1));
  ASSERT_FALSE(book.forgotten(9));

  const auto shape = fed::small_shape();
  std::shared_ptr<store::blob_store> blobs =
      std::move(*store::blob_store::open(folder_ / "blobs", 1 << 20));
  update_intake intake({"assistant", "base", shape, how}, blobs);
  fed::update_header h{.client = "edge-7",
                       .round = 1,
                       .attempt = 1,
                       .adapter = "assistant",
                       .base_digest = "base",
                       .parent_digest = "initial",
                       .trained = setup.trained,
                       .tokens = 10,
                       .values = shape.count(setup.trained),
                       .digest = store::digest_of("an update")};
  const auto refused = intake.take(h, 0, {}, book, now);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.failure().code, errc::conflict);
  EXPECT_NE(refused.failure().message.find("too long ago"), std::string::npos);
  h.round = 9;
  const auto late = intake.take(h, 0, {}, book, now);
  EXPECT_TRUE(late) << late.failure().message;
}

}  // namespace
}  // namespace collm::actors
