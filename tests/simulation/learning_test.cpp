// Rounds on virtual time: the head's production actors over real stores, modelled shadows.
#include <gtest/gtest.h>

#include "tests/support/learning_rig.hpp"

namespace collm {
namespace {

using namespace std::chrono_literals;
using schema::RoundState;
using schema::VersionState;
using testing_support::learning_options;
using testing_support::learning_rig;

class learning : public store::store_folder {};

TEST_F(learning, a_round_goes_from_opening_to_promotion) {
  learning_rig rig(folder_);
  rig.three_sites();
  rig.start_head();
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING));
  const auto r = rig.round(1);
  EXPECT_EQ(r.read()->getVersion(), 1u);
  EXPECT_EQ(r.read()->getParent(), 0u);
  ASSERT_EQ(r.read()->getParticipants().size(), 3u);
  for (const auto p : r.read()->getParticipants()) {
    EXPECT_EQ(p.getState(), schema::ParticipantState::ACCEPTED);
    EXPECT_EQ(p.getTokens(), 100);
    EXPECT_EQ(p.getSteps(), 6u);
  }
  EXPECT_EQ(rig.versions()[1], VersionState::SERVING);
  EXPECT_EQ(rig.versions()[0], VersionState::DRAINING);
  for (const auto& s : rig.shadows) EXPECT_TRUE(s->errors.empty()) << s->errors.front();
  EXPECT_EQ(rig.events("version_candidate").size(), 1u);
  EXPECT_EQ(rig.events("version_promoted").size(), 1u);
}

}  // namespace
}  // namespace collm
