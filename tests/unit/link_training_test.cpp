// The link carries training: shadows reach the head's aggregators, gateways its coordinator, and a
// node speaks for itself only.
#include <gmock/gmock.h>

#include <future>

#include "link/training_proxies.hpp"
#include "link/training_rules.hpp"
#include "tests/unit/link_fixture.hpp"

namespace collm::link::testing {
namespace {

using namespace collm::actors;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::size_t chunk_bytes = 1u << 20;

/// What the head's aggregator was told, and the answers that it holds back.
struct training_board {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> told;
  std::vector<caf::typed_response_promise<reply<msg<schema::Work>>>> held;
  void note(const std::string& what) {
    std::lock_guard lock(mutex);
    told.push_back(what);
  }
  std::vector<std::string> all() {
    std::lock_guard lock(mutex);
    return told;
  }
};
using training_ptr = std::shared_ptr<training_board>;

msg<schema::Work> train_work(std::uint32_t steps) {
  return msg<schema::Work>::build(
      [&](schema::Work::Builder to) { to.initTrain().setSteps(steps); });
}

std::string summary(capnp::Data::Reader data) {
  if (data.size() == 0) return "nothing";
  return std::to_string(data.size()) + " bytes " + std::to_string(data[0]) + ".." +
         std::to_string(data[data.size() - 1]);
}

aggregator_actor spawn_aggregator(caf::actor_system& system, training_ptr to) {
  return system.spawn([to](aggregator_actor::pointer) -> aggregator_actor::behavior_type {
    return {
        [to](const msg<schema::ShadowState>& state) {
          to->note(std::string("shadow ") + state.read()->getReplica().cStr());
          return make_reply<msg<schema::Work>>(train_work(6));
        },
        [to](const msg<schema::UpdateChunk>& chunk) {
          const auto view = chunk.read();
          to->note("upload " + summary(view->getData()));
          return make_reply<msg<schema::UploadPlace>>(
              msg<schema::UploadPlace>::build([&](schema::UploadPlace::Builder place) {
                place.setNext(view->getAt() + view->getData().size());
                place.setAccepted(true);
              }));
        },
        [to](const msg<schema::Scores>& scores) {
          const auto differences = scores.read()->getDifferences();
          to->note("scores " + std::to_string(differences.size()));
          return make_reply<void>(
              differences.size() > 0 ? result<void>() : error{errc::conflict, "no differences", 9});
        },
        [](const msg<schema::FactorsWanted>& wanted) {
          return make_reply<msg<schema::FactorsChunk>>(
              msg<schema::FactorsChunk>::build([&](schema::FactorsChunk::Builder chunk) {
                chunk.setTotal(3 * chunk_bytes);
                chunk.initData(wanted.read()->getCount())[0] = 77;
              }));
        },
        [](status_atom) {
          return msg<schema::ActorStatus>::build([](schema::ActorStatus::Builder) {});
        },
    };
  });
}

/// One that answers no shadow before it is told of an update, which releases them all.
aggregator_actor spawn_silent(caf::actor_system& system, training_ptr to) {
  return system.spawn([to](aggregator_actor::pointer self) -> aggregator_actor::behavior_type {
    return {
        [to, self](const msg<schema::ShadowState>&) {
          using promise_type = caf::typed_response_promise<reply<msg<schema::Work>>>;
          promise_type promise = self->make_response_promise<promise_type>();
          std::lock_guard lock(to->mutex);
          to->held.push_back(promise);
          to->changed.notify_all();
          return promise;
        },
        [to](const msg<schema::UpdateChunk>&) {
          std::vector<caf::typed_response_promise<reply<msg<schema::Work>>>> owed;
          {
            std::lock_guard lock(to->mutex);
            owed.swap(to->held);
          }
          for (auto& one : owed) one.deliver(make_reply<msg<schema::Work>>(train_work(1)));
          return make_reply<msg<schema::UploadPlace>>(error{errc::conflict, "released"});
        },
        [](const msg<schema::Scores>&) { return make_reply<void>({}); },
        [](const msg<schema::FactorsWanted>&) {
          return make_reply<msg<schema::FactorsChunk>>(error{errc::not_found, "none"});
        },
        [](status_atom) {
          return msg<schema::ActorStatus>::build([](schema::ActorStatus::Builder) {});
        },
    };
  });
}

msg<schema::Job> make_job(const std::string& id, schema::JobState state) {
  return msg<schema::Job>::build([&](schema::Job::Builder to) {
    to.setId(id.c_str());
    to.setState(state);
  });
}

coordinator_actor spawn_coordinator(caf::actor_system& system) {
  return system.spawn([](coordinator_actor::pointer) -> coordinator_actor::behavior_type {
    return {
        [](const msg<schema::JobRequest>& request) {
          return make_reply<msg<schema::Job>>(
              make_job(std::string("ftjob-") + request.read()->getTrainingFile().cStr(),
                       schema::JobState::QUEUED));
        },
        [](list_atom) {
          return make_reply<msg<schema::JobList>>(msg<schema::JobList>::build(
              [](schema::JobList::Builder to) { to.initJobs(2)[1].setId("ftjob-2"); }));
        },
        [](cancel_atom, const std::string& id) {
          if (id != "ftjob-2") {
            return make_reply<msg<schema::Job>>(error{errc::not_found, "no job " + id});
          }
          return make_reply<msg<schema::Job>>(make_job(id, schema::JobState::CANCELLED));
        },
        [](status_atom) {
          return msg<schema::ActorStatus>::build([](schema::ActorStatus::Builder) {});
        },
    };
  });
}

msg<schema::ShadowState> make_state(const std::string& replica, const std::string& site = "kitchen",
                                    const std::string& adapter = "assistant") {
  return msg<schema::ShadowState>::build([&](schema::ShadowState::Builder to) {
    to.setReplica(replica.c_str());
    to.setSite(site.c_str());
    to.setAdapter(adapter.c_str());
  });
}

msg<schema::UpdateChunk> make_update(const std::string& client, std::size_t bytes,
                                     std::uint32_t ranks = 2) {
  return msg<schema::UpdateChunk>::build([&](schema::UpdateChunk::Builder to) {
    auto header = to.initHeader();
    header.setClient(client.c_str());
    header.setAdapter("assistant");
    header.initRanks(ranks);
    to.setAt(100);
    auto data = to.initData(static_cast<unsigned>(bytes));
    if (bytes > 0) data[0] = 1;
    if (bytes > 1) data[bytes - 1] = 9;
  });
}

msg<schema::Scores> make_scores(const std::string& replica, const std::string& site,
                                std::uint32_t differences) {
  return msg<schema::Scores>::build([&](schema::Scores::Builder to) {
    to.setReplica(replica.c_str());
    to.setSite(site.c_str());
    to.setAdapter("assistant");
    to.initDifferences(differences);
  });
}

msg<schema::FactorsWanted> make_wanted(std::uint32_t count) {
  return msg<schema::FactorsWanted>::build([&](schema::FactorsWanted::Builder to) {
    to.setAdapter("assistant");
    to.setCount(count);
  });
}

msg<schema::JobRequest> make_request_of(const std::string& site) {
  return msg<schema::JobRequest>::build([&](schema::JobRequest::Builder to) {
    to.setSite(site.c_str());
    to.setAdapter("assistant");
    to.setTrainingFile("file-7");
  });
}

using work_reply = reply<msg<schema::Work>>;
using place_reply = reply<msg<schema::UploadPlace>>;
using factors_reply = reply<msg<schema::FactorsChunk>>;
using job_reply = reply<msg<schema::Job>>;
using jobs_reply = reply<msg<schema::JobList>>;

class link_training : public cluster_test {
 protected:
  ~link_training() override { told_->held.clear(); }

  void start() {
    start_head();
    node_ = start_node("edge-a");
    ASSERT_TRUE(board_->wait([](const board& b) { return b.beats.contains("edge-a"); }));
  }
  template <class T, class Actor, class... Args>
  T ask(const Actor& to, Args... args) {
    caf::scoped_actor self{system_};
    T out;
    self->request(to, patience, args...)
        .receive([&](const T& answer) { out = answer; },
                 [&](const caf::error& e) { ADD_FAILURE() << "no answer: " << system_.render(e); });
    return out;
  }
  template <class T, class... Args>
  errc refusal(const std::string& part, Args... args) {
    const auto answer = ask<T>(node_->aggregator(), args...);
    if (*answer) {
      ADD_FAILURE() << "was not refused: " << part;
      return errc::internal;
    }
    EXPECT_THAT(answer->failure().message, HasSubstr(part));
    return answer->failure().code;
  }

  training_ptr told_ = std::make_shared<training_board>();
};

class link_federated : public link_training {
 protected:
  link_federated() {
    aggregators_["assistant"] = spawn_aggregator(system_, told_);
    coordinator_ = spawn_coordinator(system_);
    start();
  }
};

TEST_F(link_federated, brings_a_shadow_its_work) {
  const auto work = ask<work_reply>(node_->aggregator(), make_state("edge-a/1"));
  ASSERT_TRUE(*work) << work->failure().message;
  ASSERT_TRUE((**work).read()->isTrain());
  EXPECT_EQ((**work).read()->getTrain().getSteps(), 6u);
  EXPECT_THAT(told_->all(), ElementsAre("shadow edge-a/1"));
}

TEST_F(link_federated, carries_whole_chunks_both_ways) {
  const auto place = ask<place_reply>(node_->aggregator(), make_update("edge-a/0", chunk_bytes));
  ASSERT_TRUE(*place) << place->failure().message;
  EXPECT_EQ((**place).read()->getNext(), 100 + chunk_bytes);
  EXPECT_TRUE((**place).read()->getAccepted());
  EXPECT_THAT(told_->all(), ElementsAre("upload 1048576 bytes 1..9"));
  const auto factors = ask<factors_reply>(node_->aggregator(), make_wanted(chunk_bytes));
  ASSERT_TRUE(*factors) << factors->failure().message;
  EXPECT_EQ((**factors).read()->getTotal(), 3 * chunk_bytes);
  EXPECT_EQ((**factors).read()->getData().size(), chunk_bytes);
  EXPECT_EQ((**factors).read()->getData()[0], 77);
}

TEST_F(link_federated, carries_scores_and_what_is_wrong_with_them) {
  const auto taken = ask<reply<void>>(node_->aggregator(), make_scores("edge-a/0", "kitchen", 16));
  EXPECT_TRUE(*taken);
  const auto empty = ask<reply<void>>(node_->aggregator(), make_scores("edge-a/0", "kitchen", 0));
  ASSERT_FALSE(*empty);
  EXPECT_EQ(empty->failure().code, errc::conflict);
  EXPECT_EQ(empty->failure().retry_after_ms, 9u);
}

TEST_F(link_federated, lets_a_node_speak_for_itself_only) {
  const std::string other = "cannot speak for \"edge-b/0\"";
  EXPECT_EQ(refusal<work_reply>(other, make_state("edge-b/0")), errc::forbidden);
  EXPECT_EQ(refusal<work_reply>("\"edge-a\"", make_state("edge-a")), errc::forbidden);
  EXPECT_EQ(refusal<place_reply>(other, make_update("edge-b/0", 4)), errc::forbidden);
  EXPECT_EQ(refusal<reply<void>>(other, make_scores("edge-b/0", "kitchen", 1)), errc::forbidden);
  const std::string site = "is of site \"kitchen\" and cannot speak for \"workshop\"";
  EXPECT_EQ(refusal<work_reply>(site, make_state("edge-a/0", "workshop")), errc::forbidden);
  EXPECT_EQ(refusal<reply<void>>(site, make_scores("edge-a/0", "workshop", 1)), errc::forbidden);
  const auto job = ask<job_reply>(node_->coordinator(), make_request_of("workshop"));
  ASSERT_FALSE(*job);
  EXPECT_EQ(job->failure().code, errc::forbidden);
  EXPECT_THAT(told_->all(), ElementsAre());  // no actor has heard of any of it
}

TEST_F(link_federated, refuses_an_adapter_that_is_not_federated) {
  EXPECT_EQ(
      refusal<work_reply>("\"other\" is not federated", make_state("edge-a/0", "kitchen", "other")),
      errc::not_found);
}

TEST_F(link_federated, bounds_what_one_call_holds_and_stays_up) {
  EXPECT_EQ(
      refusal<place_reply>("a chunk has at most 1048576", make_update("edge-a/0", chunk_bytes + 1)),
      errc::too_large);
  EXPECT_EQ(refusal<place_reply>("ranks has 4097 entries", make_update("edge-a/0", 4, 4097)),
            errc::too_large);
  EXPECT_EQ(refusal<reply<void>>("differences has 4097 entries",
                                 make_scores("edge-a/0", "kitchen", 4097)),
            errc::too_large);
  EXPECT_EQ(refusal<factors_reply>("count is 1048577", make_wanted(chunk_bytes + 1)),
            errc::too_large);
  EXPECT_EQ(refusal<work_reply>("replica has 5000 bytes", make_state(std::string(5000, 'x'))),
            errc::too_large);
  EXPECT_TRUE(*ask<work_reply>(node_->aggregator(), make_state("edge-a/0")));
  EXPECT_EQ(board_->look([](const board& b) { return b.joins.size(); }), 1u);
}

TEST_F(link_federated, makes_lists_and_cancels_jobs) {
  const auto made = ask<job_reply>(node_->coordinator(), make_request_of("kitchen"));
  ASSERT_TRUE(*made) << made->failure().message;
  EXPECT_STREQ((**made).read()->getId().cStr(), "ftjob-file-7");
  const auto list = ask<jobs_reply>(node_->coordinator(), list_atom::value);
  ASSERT_TRUE(*list) << list->failure().message;
  EXPECT_STREQ((**list).read()->getJobs()[1].getId().cStr(), "ftjob-2");
  const auto ended =
      ask<job_reply>(node_->coordinator(), cancel_atom::value, std::string("ftjob-2"));
  ASSERT_TRUE(*ended);
  EXPECT_EQ((**ended).read()->getState(), schema::JobState::CANCELLED);
  const auto unknown = ask<job_reply>(node_->coordinator(), cancel_atom::value, std::string("x"));
  ASSERT_FALSE(*unknown);
  EXPECT_EQ(unknown->failure().code, errc::not_found);
}

TEST_F(link_training, is_unavailable_while_the_link_is_down) {
  start_head();
  node_ = make_client(node_options("edge-a"));  // does not connect yet
  const std::string down = "link to the head at 127.0.0.1";
  EXPECT_EQ(refusal<work_reply>(down, make_state("edge-a/0")), errc::unavailable);
  EXPECT_EQ(refusal<place_reply>(down, make_update("edge-a/0", 4)), errc::unavailable);
  const auto jobs = ask<jobs_reply>(node_->coordinator(), list_atom::value);
  ASSERT_FALSE(*jobs);
  EXPECT_EQ(jobs->failure().code, errc::unavailable);
}

TEST_F(link_training, says_that_a_head_without_federation_has_no_jobs) {
  start();
  const auto job = ask<job_reply>(node_->coordinator(), make_request_of("kitchen"));
  ASSERT_FALSE(*job);
  EXPECT_EQ(job->failure().code, errc::unavailable);
  EXPECT_THAT(job->failure().message, HasSubstr("its manifest has no federation"));
  EXPECT_EQ(refusal<work_reply>("not federated", make_state("edge-a/0")), errc::not_found);
}

class link_busy : public link_training {
 protected:
  link_busy() {
    aggregators_["assistant"] = spawn_silent(system_, told_);
    start();
  }
  bool wait_held(std::size_t count) {
    std::unique_lock lock(told_->mutex);
    return told_->changed.wait_for(lock, patience, [&] { return told_->held.size() >= count; });
  }
};

TEST_F(link_busy, a_node_leaves_so_many_calls_open_and_no_more) {
  std::vector<std::future<work_reply>> waiting;
  for (std::uint32_t i = 0; i < training_calls_max; ++i) {
    waiting.push_back(std::async(std::launch::async, [this] {
      return ask<work_reply>(node_->aggregator(), make_state("edge-a/0"));
    }));
  }
  ASSERT_TRUE(wait_held(training_calls_max));
  EXPECT_EQ(refusal<work_reply>("has not answered 32 calls", make_state("edge-a/0")),
            errc::overloaded);
  ask<place_reply>(aggregators_.at("assistant"), make_update("edge-a/0", 0));  // release
  for (auto& one : waiting) EXPECT_TRUE(*one.get());
  auto after = std::async(std::launch::async, [this] {
    return ask<work_reply>(node_->aggregator(), make_state("edge-a/0"));
  });
  EXPECT_TRUE(wait_held(1));
  ask<place_reply>(aggregators_.at("assistant"), make_update("edge-a/0", 0));
  EXPECT_TRUE(*after.get());  // their places were given back
}

TEST_F(link_busy, a_head_answers_a_peer_that_asks_on_with_overloaded) {
  raw_peer peer;
  const auto files = node_files(demo_certificates(), "edge-b");
  peer.connect_tls(port_, &files, files.authority);
  peer.speak();
  auto join = peer.peer<schema::Head>().joinRequest();
  join.setHello(*make_hello("edge-b").read());
  join.setNode(nullptr);
  auto session = peer.wait(join.send()).getSession();
  std::vector<kj::Promise<void>> open;
  for (std::uint32_t i = 0; i < training_calls_max; ++i) {
    auto call = session.shadowRequest();
    call.setState(*make_state("edge-b/0").read());
    open.push_back(call.send().ignoreResult().eagerlyEvaluate(nullptr));
  }
  auto call = session.shadowRequest();
  call.setState(*make_state("edge-b/0").read());
  const auto answer = peer.wait(call.send());
  ASSERT_TRUE(answer.getResult().isFailure());
  EXPECT_STREQ(answer.getResult().getFailure().getCode().cStr(), "overloaded");
  ASSERT_TRUE(wait_held(training_calls_max)) << "what comes after the release is held for ever";
  ask<place_reply>(aggregators_.at("assistant"), make_update("edge-a/0", 0));
  for (auto& one : open) EXPECT_EQ(peer.failure(kj::mv(one)), "");
}

TEST_F(link_busy, answers_what_waits_when_the_head_goes) {
  auto waiting = std::async(std::launch::async, [this] {
    return ask<work_reply>(node_->aggregator(), make_state("edge-a/0"));
  });
  ASSERT_TRUE(wait_held(1));
  head_.reset();
  const auto lost = waiting.get();
  ASSERT_FALSE(*lost);
  EXPECT_EQ(lost->failure().code, errc::unavailable);
}

/// A session of a head that was built before training was.
class old_session final : public schema::Session::Server {};

struct old_head final : session_calls, kj::TaskSet::ErrorHandler {
  old_head() : tasks(*this) {}
  kj::Maybe<schema::Session::Client> current() override {
    return schema::Session::Client(kj::heap<old_session>());
  }
  error down() const override { return {errc::internal, "it is not down"}; }
  void keep(kj::Promise<void> call) override { tasks.add(kj::mv(call)); }
  void taskFailed(kj::Exception&& e) override { ADD_FAILURE() << e.getDescription().cStr(); }
  ~old_head() noexcept override = default;
  kj::TaskSet tasks;
};

TEST_F(link_training, takes_a_head_that_lacks_the_methods_for_one_that_is_away) {
  std::shared_ptr<old_head> head;
  node_loop_.call([&] { head = std::make_shared<old_head>(); });
  const auto way = std::make_shared<way_to_session>(node_loop_.outside(), head);
  const auto answer = ask<work_reply>(spawn_aggregator_proxy(system_, way), make_state("edge-a/0"));
  ASSERT_FALSE(*answer);
  EXPECT_EQ(answer->failure().code, errc::unavailable);
  EXPECT_THAT(answer->failure().message, HasSubstr("older than this node"));
  node_loop_.call([&] { head.reset(); });
}

}  // namespace
}  // namespace collm::link::testing
