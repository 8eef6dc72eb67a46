// What a gateway may ask of training, bound to actors: the site's data, the coordinator, the
// aggregators and the registry.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <future>

#include "deploy/federation_gateway.hpp"
#include "deploy/site_gateway.hpp"

namespace collm::deploy {
namespace {

using namespace actors;
using testing::ElementsAre;
using testing::HasSubstr;

msg<schema::ActorStatus> no_status() {
  return msg<schema::ActorStatus>::build([](schema::ActorStatus::Builder) {});
}

/// Takes lines that start with '{'; knows the answer "chatcmpl-1".
site_data_actor spawn_data(caf::actor_system& system) {
  return system.spawn([](site_data_actor::pointer) -> site_data_actor::behavior_type {
    return {
        [](list_atom, store::data_set, std::int64_t, std::uint32_t) {
          return make_reply<site_rows>(error{errc::internal, "not asked"});
        },
        [](list_atom, store::data_set, std::string, std::uint32_t, std::uint32_t) {
          return make_reply<site_rows>(error{errc::internal, "not asked"});
        },
        [](count_atom) { return make_reply<site_counts>(site_counts{}); },
        [](import_atom, const std::string& name, const std::string& text) {
          store::import_report report;
          if (text.starts_with('{')) {
            report.added = 3;
            report.added_by_set[0] = 3;
          }
          report.bad = 1;
          report.first_bad = {{name, 4, "it is not an object"}};
          return make_reply<store::import_report>(report);
        },
        [](remember_atom, const std::string&, const store::served_question&) {},
        [](feedback_atom, const std::string& id, const std::string& tenant, const std::string&) {
          if (id != "chatcmpl-1" || tenant != "cook")
            return make_reply<store::data_set>(error{errc::not_found, "never served here"});
          return make_reply<store::data_set>(store::data_set::gate);
        },
        [](status_atom) { return no_status(); },
    };
  });
}

head_aggregator_actor spawn_aggregator(caf::actor_system& system, std::string adapter) {
  return system.spawn([adapter](
                          head_aggregator_actor::pointer) -> head_aggregator_actor::behavior_type {
    return {
        [](const msg<schema::ShadowState>&) {
          return make_reply<msg<schema::Work>>(error{errc::internal, "not asked"});
        },
        [](const msg<schema::UpdateChunk>&) {
          return make_reply<msg<schema::UploadPlace>>(error{errc::internal, "not asked"});
        },
        [](const msg<schema::Scores>&) { return make_reply<void>({}); },
        [](const msg<schema::FactorsWanted>& wanted) {
          return make_reply<msg<schema::FactorsChunk>>(msg<schema::FactorsChunk>::build(
              [&](schema::FactorsChunk::Builder b) { b.setTotal(wanted.read()->getNumber()); }));
        },
        [](status_atom) { return no_status(); },
        [](const round_plan&) { return make_reply<std::uint32_t>(std::uint32_t{1}); },
        [](close_atom, const std::string&) { return make_reply<void>({}); },
        [adapter](list_atom) {
          return make_reply<msg<schema::RoundList>>(
              msg<schema::RoundList>::build([&](schema::RoundList::Builder b) {
                auto rounds = b.initRounds(2);
                for (auto round : rounds) round.setAdapter(adapter);
              }));
        },
        [](explain_atom, const version_id& version) {
          return make_reply<msg<schema::Explanation>>(msg<schema::Explanation>::build(
              [&](schema::Explanation::Builder b) { b.setVerdict(to_string(version)); }));
        },
        [](replay_atom, std::uint32_t round, const std::string& without) {
          return make_reply<msg<schema::Replay>>(
              msg<schema::Replay>::build([&](schema::Replay::Builder b) {
                b.setRound(round);
                b.setWithout(without);
              }));
        },
        [](const msg<schema::Snapshot>&) {},
        [](slot_atom) {},
    };
  });
}

coordinator_actor spawn_coordinator(caf::actor_system& system) {
  return system.spawn([](coordinator_actor::pointer) -> coordinator_actor::behavior_type {
    return {
        [](const msg<schema::JobRequest>& request) {
          return make_reply<msg<schema::Job>>(msg<schema::Job>::build([&](schema::Job::Builder b) {
            b.setId(std::string("ftjob-") + request.read()->getSite().cStr());
            b.setOwner(request.read()->getOwner());
          }));
        },
        [](list_atom) {
          return make_reply<msg<schema::JobList>>(
              msg<schema::JobList>::build([](schema::JobList::Builder) {}));
        },
        [](cancel_atom, const std::string& id) {
          return make_reply<msg<schema::Job>>(error{errc::not_found, "no job " + id});
        },
        [](status_atom) { return no_status(); },
    };
  });
}

/// assistant@5 serves, assistant@4 is retired.
registry_actor spawn_registry(caf::actor_system& system) {
  return system.spawn([](registry_actor::pointer) -> registry_actor::behavior_type {
    using record = msg<schema::VersionRecord>;
    const auto none = [] { return make_reply<record>(error{errc::internal, "not asked"}); };
    return {
        [none](const msg<schema::Register>&) { return none(); },
        [](list_atom) {
          return make_reply<msg<schema::VersionList>>(
              msg<schema::VersionList>::build([](schema::VersionList::Builder b) {
                auto versions = b.initVersions(2);
                for (unsigned i = 0; i < 2; ++i) {
                  versions[i].setAdapter("assistant");
                  versions[i].setNumber(4 + i);
                  versions[i].setState(i == 0 ? schema::VersionState::RETIRED
                                              : schema::VersionState::SERVING);
                }
              }));
        },
        [none](promote_atom, const version_id&) { return none(); },
        [](rollback_atom, const std::string& adapter) {
          return make_reply<record>(
              record::build([&](schema::VersionRecord::Builder b) { b.setAdapter(adapter); }));
        },
        [none](unload_atom, const std::string&) { return none(); },
        [](status_atom) { return no_status(); },
    };
  });
}

/// The one answer that a callback brings.
template <class T>
class answer {
 public:
  std::function<void(T)> to() {
    return [this](T value) { promise_.set_value(std::move(value)); };
  }
  T get() {
    auto future = promise_.get_future();
    EXPECT_EQ(future.wait_for(std::chrono::seconds(20)), std::future_status::ready);
    return future.get();
  }

 private:
  std::promise<T> promise_;
};

class training_port : public testing::Test {
 protected:
  ~training_port() override { std::filesystem::remove_all(folder_); }

  site_gateway site() { return {system_, spawn_data(system_), "kitchen", folder_ / "files.txt"}; }
  federation_gateway head(std::initializer_list<const char*> adapters) {
    federation_actors to{spawn_coordinator(system_), "", {}, spawn_registry(system_)};
    for (const auto* name : adapters) to.aggregators[name] = spawn_aggregator(system_, name);
    return {system_, std::move(to)};
  }
  result<gateway::site_file> add(gateway::site_port& to, const std::string& text) {
    answer<result<gateway::site_file>> file;
    to.add_file("my file.jsonl", text, file.to());
    return file.get();
  }
  std::vector<gateway::site_file> files(gateway::site_port& of) {
    answer<std::vector<gateway::site_file>> list;
    of.files(list.to());
    return list.get();
  }
  std::string verdict(gateway::federation_port& of, const version_id& version) {
    answer<result<msg<schema::Explanation>>> found;
    of.explain(version, found.to());
    const auto got = found.get();
    return got ? got->read()->getVerdict().cStr() : "failed: " + got.failure().message;
  }

  static std::filesystem::path fresh() {
    auto pattern = (std::filesystem::temp_directory_path() / "collm-port-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("no temporary folder");
    return pattern;
  }
  const std::filesystem::path folder_ = fresh();
  caf::actor_system_config config_;
  caf::actor_system system_{config_};
};

TEST_F(training_port, lists_files_and_still_does_after_a_restart) {
  std::string id;
  {
    auto one = site();
    const auto file = add(one, "{a}\n{b}\n{c}\nd\n");
    ASSERT_TRUE(file) << file.failure().message;
    EXPECT_EQ(file->added, 3u);
    EXPECT_EQ(file->first_bad.at(0).line, 4u);
    EXPECT_EQ(file->sets.at(0), (std::pair<std::string, std::uint64_t>{"train", 3}));
    ASSERT_TRUE(add(one, "{a}\n{b}\n{c}\nd\n"));  // the same again: one entry
    id = file->id;
  }
  auto again = site();
  const auto list = files(again);
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].id, id);
  EXPECT_EQ(list[0].name, "my file.jsonl");
  EXPECT_EQ(list[0].bytes, 14u);
  EXPECT_EQ(list[0].bad, 1u);
  answer<result<void>> removed, twice;
  again.remove_file(id, removed.to());
  EXPECT_TRUE(removed.get());
  again.remove_file(id, twice.to());
  EXPECT_FALSE(twice.get());
  EXPECT_TRUE(files(again).empty());
}

TEST_F(training_port, refuses_a_file_without_one_good_line) {
  auto one = site();
  const auto file = add(one, "nonsense");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.failure().code, errc::bad_request);
  EXPECT_THAT(file.failure().message, HasSubstr("line 4: it is not an object"));
  EXPECT_TRUE(files(one).empty());
}

TEST_F(training_port, names_the_set_that_feedback_fell_into) {
  auto one = site();
  answer<result<std::string>> known, unknown;
  one.feedback("chatcmpl-1", "cook", "soup", known.to());
  EXPECT_EQ(*known.get(), "gate");
  one.feedback("chatcmpl-2", "cook", "soup", unknown.to());
  EXPECT_EQ(unknown.get().failure().code, errc::not_found);
}

TEST_F(training_port, explains_what_serves_unless_a_number_is_given) {
  auto one = head({"assistant"});
  EXPECT_EQ(verdict(one, {"assistant", 3}), "assistant@3");
  EXPECT_EQ(verdict(one, {"assistant", 0}), "assistant@5");
  EXPECT_EQ(verdict(one, {"", 0}), "assistant@5");
  EXPECT_THAT(verdict(one, {"other", 0}), HasSubstr("'other' is not trained by rounds"));
  answer<result<msg<schema::FactorsChunk>>> chunk;
  one.factors({"assistant", 0}, 0, 16, chunk.to());
  EXPECT_EQ((*chunk.get()).read()->getTotal(), 5u);
}

TEST_F(training_port, joins_the_rounds_of_all_adapters) {
  auto one = head({"assistant", "chef"});
  answer<result<msg<schema::RoundList>>> all, of_one;
  one.rounds("", all.to());
  EXPECT_EQ((*all.get()).read()->getRounds().size(), 4u);
  one.rounds("chef", of_one.to());
  const auto list = of_one.get();
  ASSERT_TRUE(list);
  EXPECT_EQ(list->read()->getRounds().size(), 2u);
  EXPECT_STREQ(list->read()->getRounds()[0].getAdapter().cStr(), "chef");
  EXPECT_THAT(verdict(one, {"", 0}), HasSubstr("name an adapter; trained are: assistant, chef"));
}

TEST_F(training_port, sends_a_node_that_asks_for_rounds_to_the_head) {
  federation_gateway node(system_, {spawn_coordinator(system_), "kitchen", {}, {}});
  answer<result<msg<schema::RoundList>>> rounds;
  node.rounds("", rounds.to());
  EXPECT_EQ(rounds.get().failure().code, errc::forbidden);
  answer<result<msg<schema::VersionRecord>>> back;
  node.rollback("assistant", back.to());
  EXPECT_EQ(back.get().failure().code, errc::forbidden);
  answer<result<msg<schema::Job>>> job;
  node.create_job({"assistant", "file-1", "", 1, "ann"}, job.to());
  const auto made = job.get();
  EXPECT_STREQ(made->read()->getId().cStr(), "ftjob-kitchen");
  EXPECT_STREQ(made->read()->getOwner().cStr(), "ann");
}

TEST_F(training_port, says_that_nothing_trains_where_nothing_does) {
  auto one = federation_gateway(system_, {{}, "", {}, spawn_registry(system_)});
  answer<result<msg<schema::JobList>>> jobs;
  one.jobs(jobs.to());
  EXPECT_THAT(jobs.get().failure().message, HasSubstr("trains nothing"));
  EXPECT_THAT(verdict(one, {"assistant", 1}), HasSubstr("trains nothing"));
  answer<result<msg<schema::VersionRecord>>> back;
  one.rollback("assistant", back.to());
  EXPECT_TRUE(back.get());  // versions that were loaded go back too
}

}  // namespace
}  // namespace collm::deploy
