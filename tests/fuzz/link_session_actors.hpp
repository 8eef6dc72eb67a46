// For link_session_fuzz: the actors behind the head's link. They judge what they are told by what
// the role of the peer allows and link/ promises, and ask it things themselves. One thread.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "actors/interfaces.hpp"
#include "link/link.hpp"
#include "link/training_rules.hpp"
#include "messages/assert.hpp"
#include "tests/fuzz/link_session_fuzz.hpp"

namespace collm::fuzz {

inline constexpr const char* honest_node = "edge-b";
inline constexpr const char* adapter_name = "assistant";
inline constexpr const char* silent_adapter = "silent";  ///< its shadows wait till the end
inline constexpr const char* base_digest = "base-1";
inline constexpr const char* tokenizer_digest = "words-1";
inline constexpr std::int64_t a_time = 1'000'000;  ///< of the head's clock, Unix s

/// What the peer of one input has said to the actors, and what it owes.
struct visit_book {
  link::speaker by;
  std::uint32_t joined = 0, left = 0;
  std::uint64_t incarnation = 0;
  std::uint32_t asked = 0, answered = 0;  ///< by the supervisor, of its proxies
  std::uint32_t requests = 0, ended = 0;  ///< of which sinks were told
  /// What the silent aggregator owes.
  std::vector<caf::typed_response_promise<actors::reply<msg<schema::Work>>>> owed = {};
};

/// The one of now, and what stays.
struct book {
  visit_book visit;
  actors::router_actor honest;       ///< way to the honest node
  std::uint32_t honest_beats = 0;    ///< heard
  std::uint32_t honest_answers = 0;  ///< to what its way was asked
};
using book_ptr = std::shared_ptr<book>;

// -- what is allowed

inline bool is(capnp::Text::Reader text, std::string_view other) {
  return std::string_view(text.begin(), text.size()) == other;
}

inline void judge_texts(std::initializer_list<capnp::Text::Reader> texts,
                        std::size_t most = link::training_text_max) {
  for (const auto text : texts) COLLM_ASSERT(text.size() <= most);
}

/// "edge-a/0", "edge-a/1".
inline bool is_replica_of(const link::speaker& by, capnp::Text::Reader name) {
  for (std::uint32_t i = 0; i < by.replicas; ++i)
    if (is(name, by.node + "/" + std::to_string(i))) return true;
  return false;
}

inline void judge(const link::speaker& by, schema::Hello::Reader h) {
  COLLM_ASSERT(is(h.getName(), by.node) && is(h.getSite(), by.site));
  COLLM_ASSERT(is(h.getBaseDigest(), base_digest));
  COLLM_ASSERT(is(h.getTokenizerDigest(), tokenizer_digest));
  COLLM_ASSERT(h.getProtocol() == link::protocol_current ||
               h.getProtocol() + 1 == link::protocol_current);
  COLLM_ASSERT(!by.elsewhere || h.getIncarnation() <= std::uint64_t{a_time + 3600} << 16);
}

inline void judge(const link::speaker& by, schema::Snapshot::Reader s) {
  const auto shown = [](std::initializer_list<capnp::Text::Reader> texts) {
    judge_texts(texts, link::snapshot_text_max);
  };
  COLLM_ASSERT(is(s.getNode(), by.node));
  COLLM_ASSERT(s.getSite().size() == 0 || is(s.getSite(), by.site));
  for (const auto size : {s.getActors().size(), s.getReplicas().size(), s.getVersions().size(),
                          s.getLedger().size(), s.getTraffic().size()})
    COLLM_ASSERT(size <= link::snapshot_list_max);
  shown({s.getKernelPath(), s.getHttpAddress()});
  for (const auto a : s.getActors()) shown({a.getName(), a.getId()});
  for (const auto r : s.getReplicas()) shown({r.getName()});
  for (const auto v : s.getVersions()) shown({v.getAdapter(), v.getDigest()});
  for (const auto l : s.getLedger()) shown({l.getName()});
  for (const auto t : s.getTraffic()) shown({t.getAdapter(), t.getSite()});
}

inline void judge(const link::speaker& by, schema::Register::Reader r) {
  COLLM_ASSERT(is(r.getNode(), by.node) && (r.getAtStart() || !by.elsewhere));
  COLLM_ASSERT(r.getKnownOnly() == by.elsewhere);
  judge_texts({r.getAdapter(), r.getDigest(), r.getSource(), r.getBaseDigest(), r.getFolder()});
}

inline void judge(const link::speaker& by, schema::ShadowState::Reader s) {
  COLLM_ASSERT(is_replica_of(by, s.getReplica()) && is(s.getSite(), by.site));
  judge_texts({s.getAdapter(), s.getDeclined()});
}

inline void judge(const link::speaker& by, schema::UpdateChunk::Reader c) {
  const auto h = c.getHeader();
  COLLM_ASSERT(is_replica_of(by, h.getClient()));
  COLLM_ASSERT(h.getRanks().size() <= link::training_list_max);
  COLLM_ASSERT(c.getData().size() <= limits{}.chunk_bytes_max);
  judge_texts({h.getAdapter(), h.getBaseDigest(), h.getParentDigest(), h.getDigest()});
}

inline void judge(const link::speaker& by, schema::Scores::Reader s) {
  COLLM_ASSERT(is_replica_of(by, s.getReplica()) && is(s.getSite(), by.site));
  judge_texts({s.getAdapter(), s.getFailure()});
  for (const auto list :
       {s.getDifferences(), s.getGuard(), s.getEntropies(), s.getEntropiesBefore()})
    COLLM_ASSERT(list.size() <= link::training_list_max);
}

inline void judge(const link::speaker& by, schema::JobRequest::Reader r) {
  COLLM_ASSERT(is(r.getSite(), by.site));
  COLLM_ASSERT(!by.elsewhere || r.getOwner().size() == 0 ||
               by.tenants.contains(r.getOwner().cStr()));
  judge_texts({r.getAdapter(), r.getTrainingFile(), r.getSuffix(), r.getOwner()});
}

inline void judge(const link::speaker& by, schema::Event::Reader e) {
  COLLM_ASSERT(is(e.getNode(), by.node));
  COLLM_ASSERT(e.getKind().size() <= 64 && e.getMessage().size() <= 4096);
}

// -- what the head asks a node that has joined

inline msg<schema::VersionRecord> make_record(const char* adapter, std::uint32_t number) {
  return msg<schema::VersionRecord>::build([&](schema::VersionRecord::Builder to) {
    to.setAdapter(adapter);
    to.setNumber(number);
  });
}

inline msg<schema::Request> make_request(request_id id) {
  return msg<schema::Request>::build([&](schema::Request::Builder to) {
    to.setId(id);
    to.setModel(adapter_name);
    to.setMaxTokens(2);
    to.initPrompt(3);
  });
}
inline constexpr std::uint32_t chunks_max = (2 + 2) * 1 + 16;  // of such a request

/// Where one request's answer goes: in its order, within its bounds, ended once.
inline actors::sink_actor spawn_sink(caf::actor_system& system, book_ptr to, request_id id) {
  struct state {
    bool accepted = false, over = false;
    std::uint32_t chunks = 0;
  };
  ++to->visit.requests;
  auto s = std::make_shared<state>();
  const auto end = [to, s] {
    COLLM_ASSERT(!std::exchange(s->over, true));
    ++to->visit.ended;
  };
  return system.spawn([=](actors::sink_actor::pointer) -> actors::sink_actor::behavior_type {
    return {
        [s, id](const msg<schema::Accepted>& m) {
          COLLM_ASSERT(!std::exchange(s->accepted, true) && !s->over);
          COLLM_ASSERT(m.read()->getRequest() == id);
          ++reached()["sink accepted"];
        },
        [s, id](const msg<schema::TokenChunk>& m) {
          COLLM_ASSERT(s->accepted && !s->over && ++s->chunks <= chunks_max);
          COLLM_ASSERT(m.read()->getRequest() == id);
          COLLM_ASSERT(m.bytes().size() <= (64u << 10) + 64);
          ++reached()["sink put"];
        },
        [end](const msg<schema::Finish>& m) {
          end();
          ++reached()[m.read()->getReason() == schema::FinishReason::ERROR ? "request broken off"
                                                                           : "request finished"];
        },
        [s, end](const msg<schema::Reject>&) {
          end();
          ++reached()[s->accepted ? "request rejected late" : "request rejected"];
        },
    };
  });
}

/// All that a head may want of a node, at once.
template <class Self>
void ask_everything(Self self, caf::actor_system& system, const book_ptr& to,
                    const actors::router_actor& router, const actors::node_actor& node) {
  using record_reply = actors::reply<msg<schema::VersionRecord>>;
  const auto lost = [](const caf::error&) { COLLM_ASSERT(false); };  // each owes an answer
  const auto answered = [to](const char* what, bool good) {
    ++to->visit.answered;
    if (good) ++reached()[what];
  };
  to->visit.asked += 4;
  self->request(router, caf::infinite, actors::list_atom::value)
      .then(
          [answered](const msg<schema::VersionList>& list) {
            answered("answer to versions", list.read()->getVersions().size() > 0);
          },
          lost);
  self->request(node, caf::infinite, actors::load_atom::value, std::string(adapter_name),
                std::string("/adapters/a"))
      .then([answered](const record_reply& r) { answered("answer to load", bool(*r)); }, lost);
  self->request(node, caf::infinite, actors::unload_atom::value, version_id{adapter_name, 1})
      .then([answered](const actors::reply<void>& r) { answered("answer to unload", bool(*r)); },
            lost);
  self->request(node, caf::infinite, actors::drain_atom::value, std::uint32_t{5000})
      .then([answered](const actors::reply<void>& r) { answered("answer to drain", bool(*r)); },
            lost);
  self->send(router, make_record(adapter_name, 2));
  self->send(router, make_request(101), spawn_sink(system, to, 101));
  self->send(router, make_request(102), spawn_sink(system, to, 102));
  const auto unwanted = spawn_sink(system, to, 103);
  self->send(router, make_request(103), unwanted);
  self->send(router, actors::cancel_atom::value, request_id{103}, unwanted);
}

// -- the actors

inline msg<schema::ActorStatus> no_status() {
  return msg<schema::ActorStatus>::build([](schema::ActorStatus::Builder) {});
}

/// `slot`: asks the way to the honest node for its versions.
inline actors::supervisor_actor spawn_supervisor(caf::actor_system& system, book_ptr to) {
  using namespace actors;
  using pointer = supervisor_actor::pointer;
  return system.spawn([to, &system](pointer self) -> supervisor_actor::behavior_type {
    const auto refuse = [] {
      COLLM_ASSERT(false);  // the link never asks this
      return make_reply<msg<schema::VersionRecord>>(error{});
    };
    return {
        [=, &system](join_atom, const msg<schema::Hello>& hello, const router_actor& router,
                     const node_actor& node) {
          const auto h = hello.read();
          if (is(h->getName(), honest_node)) return void(to->honest = router);
          ++reached()["join"];
          judge(to->visit.by, *h);
          COLLM_ASSERT(++to->visit.joined == 1);  // once a connection
          to->visit.incarnation = h->getIncarnation();
          ask_everything(self, system, to, router, node);
        },
        [to](leave_atom, const std::string& name, std::uint64_t incarnation,
             const std::string& reason) {
          COLLM_ASSERT(!reason.empty());
          if (name == honest_node) return;
          auto& visit = to->visit;
          COLLM_ASSERT(name == visit.by.node && incarnation == visit.incarnation);
          COLLM_ASSERT(++visit.left == 1 && visit.joined == 1);
        },
        [to](beat_atom, const std::string& name, std::uint64_t incarnation,
             const msg<schema::Snapshot>& last) {
          if (name == honest_node) return void(++to->honest_beats);
          ++reached()["beat"];
          COLLM_ASSERT(name == to->visit.by.node && incarnation == to->visit.incarnation);
          judge(to->visit.by, *last.read());
        },
        [](const child_exit&) { COLLM_ASSERT(false); },
        [=](slot_atom) {
          self->request(to->honest, caf::infinite, list_atom::value)
              .then([to](const msg<schema::VersionList>& list) {
                const auto rows = list.read()->getVersions();
                if (rows.size() == 1 && is(rows[0].getAdapter(), "on-node")) ++to->honest_answers;
              });
        },
        [](list_atom) {
          return msg<schema::ClusterStatus>::build([](schema::ClusterStatus::Builder) {});
        },
        [=](drain_atom, const std::string&, bool, std::uint32_t) {
          COLLM_ASSERT(false);
          return make_reply<void>({});
        },
        [=](load_atom, const std::string&, const std::string&) { return refuse(); },
        [=](unload_atom, const std::string&) { return refuse(); },
        [](status_atom) { return no_status(); },
    };
  });
}

inline actors::registry_actor spawn_registry(caf::actor_system& system, book_ptr to) {
  using namespace actors;
  using record = msg<schema::VersionRecord>;
  return system.spawn([to](registry_actor::pointer) -> registry_actor::behavior_type {
    const auto never = [] {
      COLLM_ASSERT(false);  // not a node's to ask
      return make_reply<record>(error{});
    };
    return {
        [to](const msg<schema::Register>& what) {
          ++reached()["register"];
          judge(to->visit.by, *what.read());
          return make_reply<record>(make_record(adapter_name, 5));
        },
        [](list_atom) {
          ++reached()["versions"];
          return make_reply<msg<schema::VersionList>>(
              msg<schema::VersionList>::build([](schema::VersionList::Builder b) {
                b.initVersions(1)[0].setAdapter("from-head");
              }));
        },
        [never](promote_atom, const version_id&) { return never(); },
        [never](rollback_atom, const std::string&) { return never(); },
        [to](unload_atom, const std::string&) {
          ++reached()["retire"];
          COLLM_ASSERT(!to->visit.by.elsewhere);
          return make_reply<record>(error{errc::not_found, "nothing serves", 7});
        },
        [](status_atom) { return no_status(); },
    };
  });
}

inline actors::telemetry_actor spawn_telemetry(caf::actor_system& system, book_ptr to) {
  using namespace actors;
  return system.spawn([to](telemetry_actor::pointer) -> telemetry_actor::behavior_type {
    return {
        [](const request_began&) { COLLM_ASSERT(false); },
        [](const request_outcome&) { COLLM_ASSERT(false); },
        [](const replica_report_ptr&) { COLLM_ASSERT(false); },
        [](const msg<schema::VersionRecord>&) { COLLM_ASSERT(false); },
        [to](const msg<schema::Event>& event) {
          ++reached()["event"];
          judge(to->visit.by, *event.read());
        },
        [](slot_atom) {},
        [](list_atom) { return msg<schema::Snapshot>::build([](schema::Snapshot::Builder) {}); },
        [](events_atom, std::uint32_t) { return std::vector<msg<schema::Event>>{}; },
        [](metrics_atom) { return std::string(); },
        [](status_atom) { return no_status(); },
    };
  });
}

inline msg<schema::Work> some_work() {
  return msg<schema::Work>::build([](schema::Work::Builder b) { b.initTrain().setSteps(6); });
}

/// Asked for its status, the silent one answers what it owes.
inline actors::aggregator_actor spawn_aggregator(caf::actor_system& system, book_ptr to,
                                                 std::string adapter) {
  using namespace actors;
  using pointer = aggregator_actor::pointer;
  return system.spawn([=](pointer self) -> aggregator_actor::behavior_type {
    const auto own = [to, adapter](const char* what, const auto& message, auto of) {
      ++reached()[what];
      judge(to->visit.by, message);
      COLLM_ASSERT(is(of, adapter));
    };
    return {
        [=](const msg<schema::ShadowState>& state) {
          own("shadow", *state.read(), state.read()->getAdapter());
          using promise_type = caf::typed_response_promise<reply<msg<schema::Work>>>;
          promise_type promise = self->make_response_promise<promise_type>();
          if (adapter == silent_adapter) {
            to->visit.owed.push_back(promise);
          } else {
            auto once = promise;
            once.deliver(make_reply<msg<schema::Work>>(some_work()));
          }
          return promise;
        },
        [=](const msg<schema::UpdateChunk>& chunk) {
          own("upload", *chunk.read(), chunk.read()->getHeader().getAdapter());
          return make_reply<msg<schema::UploadPlace>>(
              msg<schema::UploadPlace>::build([](schema::UploadPlace::Builder) {}));
        },
        [=](const msg<schema::Scores>& scores) {
          own("scores", *scores.read(), scores.read()->getAdapter());
          return make_reply<void>({});
        },
        [adapter](const msg<schema::FactorsWanted>& wanted) {
          ++reached()["factors"];
          const auto w = wanted.read();
          COLLM_ASSERT(is(w->getAdapter(), adapter));
          COLLM_ASSERT(w->getCount() <= limits{}.chunk_bytes_max);
          return make_reply<msg<schema::FactorsChunk>>(msg<schema::FactorsChunk>::build(
              [&](schema::FactorsChunk::Builder b) { b.initData(std::min(w->getCount(), 64u)); }));
        },
        [to](status_atom) {
          for (auto& one : std::exchange(to->visit.owed, {}))
            one.deliver(make_reply<msg<schema::Work>>(some_work()));
          return no_status();
        },
    };
  });
}

/// Has one job of each site.
inline actors::coordinator_actor spawn_coordinator(caf::actor_system& system, book_ptr to) {
  using namespace actors;
  using job = msg<schema::Job>;
  return system.spawn([to](coordinator_actor::pointer) -> coordinator_actor::behavior_type {
    return {
        [to](const msg<schema::JobRequest>& request) {
          ++reached()["createJob"];
          judge(to->visit.by, *request.read());
          return make_reply<job>(job::build([](schema::Job::Builder b) { b.setId("ftjob-3"); }));
        },
        [](list_atom) {
          ++reached()["jobs"];
          return make_reply<msg<schema::JobList>>(
              msg<schema::JobList>::build([](schema::JobList::Builder b) {
                auto jobs = b.initJobs(2);
                jobs[0].setId("ftjob-1");
                jobs[0].setSite("kitchen");
                jobs[1].setId("ftjob-2");
                jobs[1].setSite("yard");
              }));
        },
        [to](cancel_atom, const std::string& id) {
          ++reached()["cancelJob"];
          COLLM_ASSERT(id.size() <= link::training_text_max);
          COLLM_ASSERT(!to->visit.by.elsewhere || id == "ftjob-2");
          return make_reply<job>(error{errc::not_found, "it is over"});
        },
        [](status_atom) { return no_status(); },
    };
  });
}

}  // namespace collm::fuzz
