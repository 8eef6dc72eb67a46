#include "deploy/federation_gateway.hpp"

#include <memory>
#include <mutex>
#include <vector>

#include "deploy/asker.hpp"

namespace collm::deploy {
namespace {

constexpr auto patience = std::chrono::seconds(10);
constexpr auto replay_patience = std::chrono::seconds(120);
constexpr std::size_t rounds_listed_max = 1024;  ///< of all adapters together

error no_jobs() {
  return {errc::bad_request, "this cluster trains nothing: its manifest has no federation"};
}

/// Lists of several adapters as they arrive; whoever comes last answers.
struct gathering {
  std::mutex mutex;
  std::vector<msg<schema::RoundList>> lists;
  std::size_t awaited = 0;
  std::optional<error> failure;
};

msg<schema::RoundList> joined(const std::vector<msg<schema::RoundList>>& lists) {
  if (lists.size() == 1) return lists.front();
  return msg<schema::RoundList>::build([&](schema::RoundList::Builder to) {
    std::size_t total = 0;
    for (const auto& list : lists) total += list.read()->getRounds().size();
    const auto kept = static_cast<unsigned>(std::min(total, rounds_listed_max));
    auto rounds = to.initRounds(kept);
    std::size_t skip = total - kept;
    unsigned at = 0;
    for (const auto& list : lists) {
      const auto view = list.read();
      for (const auto round : view->getRounds()) {
        if (skip > 0) {
          --skip;
        } else {
          rounds.setWithCaveats(at++, round);
        }
      }
    }
  });
}

}  // namespace

void federation_gateway::create_job(gateway::job_order order, reply<msg<schema::Job>> to) {
  if (!to_.coordinator) return to(no_jobs());
  ask_reply<msg<schema::Job>>(system_, to_.coordinator, patience, to,
                              msg<schema::JobRequest>::build([&](schema::JobRequest::Builder b) {
                                b.setAdapter(order.adapter);
                                b.setRounds(order.rounds);
                                b.setSite(to_.site);
                                b.setTrainingFile(order.training_file);
                                b.setSuffix(order.suffix);
                                b.setOwner(order.owner);
                              }));
}

void federation_gateway::jobs(reply<msg<schema::JobList>> to) {
  if (!to_.coordinator) return to(no_jobs());
  ask_reply<msg<schema::JobList>>(system_, to_.coordinator, patience, to, actors::list_atom::value);
}

void federation_gateway::cancel_job(std::string id, reply<msg<schema::Job>> to) {
  if (!to_.coordinator) return to(no_jobs());
  ask_reply<msg<schema::Job>>(system_, to_.coordinator, patience, to, actors::cancel_atom::value,
                              std::move(id));
}

result<federation_gateway::named_aggregator> federation_gateway::aggregator(
    const std::string& adapter) const {
  if (!to_.registry) {
    return error{errc::forbidden, "rounds are the head's; ask its gateway, not a node's"};
  }
  if (adapter.empty() && to_.aggregators.size() == 1) {
    return named_aggregator{to_.aggregators.begin()->first, to_.aggregators.begin()->second};
  }
  const auto found = to_.aggregators.find(adapter);
  if (found != to_.aggregators.end()) return named_aggregator{adapter, found->second};
  std::string names;
  for (const auto& [name, actor] : to_.aggregators) names += (names.empty() ? "" : ", ") + name;
  if (names.empty()) return no_jobs();
  if (adapter.empty()) return error{errc::bad_request, "name an adapter; trained are: " + names};
  return error{errc::not_found,
               "adapter '" + adapter + "' is not trained by rounds; these are: " + names};
}

void federation_gateway::rounds(std::string adapter, reply<msg<schema::RoundList>> to) {
  if (!adapter.empty() || to_.aggregators.size() < 2) {
    const auto one = aggregator(adapter);
    if (!one) return to(one.failure());
    return ask_reply<msg<schema::RoundList>>(system_, one->actor, patience, to,
                                             actors::list_atom::value);
  }
  const auto all = std::make_shared<gathering>();
  all->awaited = to_.aggregators.size();
  const auto arrived = [all, to](const result<msg<schema::RoundList>>& list) {
    const std::lock_guard lock(all->mutex);
    if (list) {
      all->lists.push_back(*list);
    } else {
      all->failure = list.failure();
    }
    if (--all->awaited > 0) return;
    all->failure ? to(*all->failure) : to(joined(all->lists));
  };
  for (const auto& [name, actor] : to_.aggregators)
    ask_reply<msg<schema::RoundList>>(system_, actor, patience, arrived, actors::list_atom::value);
}

void federation_gateway::resolve(const version_id& version, reply<version_id> to) const {
  if (version.number > 0) return to(version);
  ask_reply<msg<schema::VersionList>>(
      system_, to_.registry, patience,
      [to, name = version.name](const result<msg<schema::VersionList>>& list) {
        if (!list) return to(list.failure());
        const auto view = list->read();
        for (const auto v : view->getVersions()) {
          if (name == v.getAdapter().cStr() && v.getState() == schema::VersionState::SERVING)
            return to(version_id{name, v.getNumber()});
        }
        to(error{errc::not_found, "no version of adapter '" + name + "' serves"});
      },
      actors::list_atom::value);
}

void federation_gateway::explain(version_id version, reply<msg<schema::Explanation>> to) {
  const auto one = aggregator(version.name);
  if (!one) return to(one.failure());
  resolve({one->adapter, version.number},
          [&system = system_, actor = one->actor, to](const result<version_id>& found) {
            if (!found) return to(found.failure());
            ask_reply<msg<schema::Explanation>>(system, actor, patience, to,
                                                actors::explain_atom::value, *found);
          });
}

void federation_gateway::replay(std::string adapter, std::uint32_t round, std::string without,
                                reply<msg<schema::Replay>> to) {
  const auto one = aggregator(adapter);
  if (!one) return to(one.failure());
  ask_reply<msg<schema::Replay>>(system_, one->actor, replay_patience, to,
                                 actors::replay_atom::value, round, std::move(without));
}

void federation_gateway::close_round(std::string adapter, std::string who, reply<void> to) {
  const auto one = aggregator(adapter);
  if (!one) return to(one.failure());
  ask_reply<void>(system_, one->actor, patience, to, actors::close_atom::value, std::move(who));
}

void federation_gateway::rollback(std::string adapter, reply<msg<schema::VersionRecord>> to) {
  if (!to_.registry)
    return to(error{errc::forbidden, "versions are the head's; ask its gateway, not a node's"});
  ask_reply<msg<schema::VersionRecord>>(system_, to_.registry, patience, to,
                                        actors::rollback_atom::value, std::move(adapter));
}

void federation_gateway::factors(version_id version, std::uint64_t at, std::uint32_t count,
                                 reply<msg<schema::FactorsChunk>> to) {
  const auto one = aggregator(version.name);
  if (!one) return to(one.failure());
  resolve({one->adapter, version.number},
          [&system = system_, actor = one->actor, at, count, to](const result<version_id>& found) {
            if (!found) return to(found.failure());
            ask_reply<msg<schema::FactorsChunk>>(
                system, actor, patience, to,
                msg<schema::FactorsWanted>::build([&](schema::FactorsWanted::Builder b) {
                  b.setAdapter(found->name);
                  b.setNumber(found->number);
                  b.setAt(at);
                  b.setCount(count);
                }));
          });
}

}  // namespace collm::deploy
