#include "link/head_session.hpp"

#include "link/head_connection.hpp"
#include "link/outcome.hpp"
#include "link/training_rules.hpp"

namespace collm::link {
namespace {

using schema::VersionList;
using schema::VersionRecord;

/// The aggregator of an adapter; forbidden things are refused before it is looked for.
result<actors::aggregator_actor> aggregator_of(const head_context& shared,
                                               capnp::Text::Reader adapter) {
  const auto found = shared.to.aggregators.find(std::string(adapter.begin(), adapter.size()));
  if (found != shared.to.aggregators.end()) return found->second;
  return error{errc::not_found, "adapter \"" + std::string(adapter.cStr()) +
                                    "\" is not federated in this cluster's manifest"};
}

result<actors::coordinator_actor> coordinator_of(const head_context& shared) {
  if (shared.to.coordinator) return shared.to.coordinator;
  return error{errc::unavailable, "this head trains no adapter: its manifest has no federation"};
}

constexpr std::size_t request_bytes_max = 4096;  // a P-256 request has some 200

/// What a node registers, as the registry is to take it.
msg<schema::Register> as_said_by(const speaker& by, schema::Register::Reader what) {
  return msg<schema::Register>::build([&](schema::Register::Builder to) {
    to.setAdapter(what.getAdapter());
    to.setDigest(what.getDigest());
    to.setParent(what.getParent());
    to.setRank(what.getRank());
    to.setBytes(what.getBytes());
    to.setSource(what.getSource());
    to.setNode(what.getNode());
    to.setBaseDigest(what.getBaseDigest());
    to.setFolder(what.getFolder());
    to.setAtStart(what.getAtStart());
    to.setCandidate(what.getCandidate());
    to.setKnownOnly(by.elsewhere);
  });
}

class session_server final : public schema::Session::Server {
 public:
  explicit session_server(std::weak_ptr<head_connection> to) : to_(std::move(to)) {}

  kj::Promise<void> beat(BeatContext context) override {
    alive(to_)->beat(context.getParams().getSnapshot());
    return kj::READY_NOW;
  }

  kj::Promise<void> register_(RegisterContext context) override {
    context.allowCancellation();
    auto to = alive(to_);
    to->keep_pace();
    const auto what = context.getParams().getRegister();
    const auto& by = to->speaks_for();
    if (auto allowed = check(by, what); !allowed) refuse(allowed.failure());
    auto& shared = to->shared();
    return ask<actors::reply<msg<VersionRecord>>>(shared.courier, shared.to.registry,
                                                  as_said_by(by, what))
        .then([context](actors::reply<msg<VersionRecord>>&& outcome) mutable {
          fill(context.getResults().initResult(), *outcome);
        });
  }

  kj::Promise<void> versions(VersionsContext context) override {
    context.allowCancellation();
    auto to = alive(to_);
    to->keep_pace();
    auto& shared = to->shared();
    return ask<actors::reply<msg<VersionList>>>(shared.courier, shared.to.registry,
                                                actors::list_atom::value)
        .then([context](actors::reply<msg<VersionList>>&& outcome) mutable {
          if (!*outcome) refuse(outcome->failure());
          context.getResults().setList(*(**outcome).read());
        });
  }

  kj::Promise<void> retire(RetireContext context) override {
    context.allowCancellation();
    auto to = alive(to_);
    to->keep_pace();
    if (auto allowed = check_retire(to->speaks_for()); !allowed) refuse(allowed.failure());
    auto& shared = to->shared();
    return ask<actors::reply<msg<VersionRecord>>>(
               shared.courier, shared.to.registry, actors::unload_atom::value,
               std::string(context.getParams().getAdapter().cStr()))
        .then([context](actors::reply<msg<VersionRecord>>&& outcome) mutable {
          fill(context.getResults().initResult(), *outcome);
        });
  }

  kj::Promise<void> event(EventContext context) override {
    alive(to_)->event(context.getParams().getEvent());
    return kj::READY_NOW;
  }

  // -- its certificate

  kj::Promise<void> renew(RenewContext context) override {
    auto to = alive(to_);
    to->keep_pace();
    const auto request = context.getParams().getRequest();
    const std::string_view der(reinterpret_cast<const char*>(request.begin()), request.size());
    result<std::string> outcome = error{
        errc::rate_limited, "node " + to->node() + " renews its certificate too often", 60000};
    if (der.size() > request_bytes_max) {
      outcome = error{errc::too_large, "the certificate signing request is too large"};
    } else if (to->shared().accounts[to->node()].renews.take(to->now_s())) {
      auto made = to->shared().options.members->renew(to->node(), der);
      outcome = made ? result<std::string>(made->certificate) : made.failure();
    }
    fill(context.getResults().initResult(), outcome);
    return kj::READY_NOW;
  }

  kj::Promise<void> renewed(RenewedContext context) override {
    auto to = alive(to_);
    to->keep_pace();
    const std::string id = context.getParams().getId().cStr();
    fill(context.getResults().initResult(), to->shared().options.members->holds(to->node(), id));
    return kj::READY_NOW;
  }

  // -- training

  kj::Promise<void> shadow(ShadowContext context) override {
    const auto state = context.getParams().getState();
    auto to = alive(to_);
    auto allowed = check(to->speaks_for(), state);
    return pass_on<msg<schema::Work>>(
        *to, context, allowed, aggregator_of(to->shared(), state.getAdapter()),
        [&] { return msg<schema::ShadowState>::copy_of(state, limits{}.word_bytes_max); });
  }

  kj::Promise<void> upload(UploadContext context) override {
    const auto chunk = context.getParams().getChunk();
    auto to = alive(to_);
    const auto& bounds = to->shared().options.bounds;
    auto allowed = check(to->speaks_for(), chunk, bounds);
    return pass_on<msg<schema::UploadPlace>>(
        *to, context, allowed, aggregator_of(to->shared(), chunk.getHeader().getAdapter()),
        [&] { return msg<schema::UpdateChunk>::copy_of(chunk, chunk_message_max(bounds)); });
  }

  kj::Promise<void> scores(ScoresContext context) override {
    const auto scores = context.getParams().getScores();
    auto to = alive(to_);
    auto allowed = check(to->speaks_for(), scores);
    return pass_on<void>(
        *to, context, allowed, aggregator_of(to->shared(), scores.getAdapter()),
        [&] { return msg<schema::Scores>::copy_of(scores, limits{}.word_bytes_max); });
  }

  kj::Promise<void> factors(FactorsContext context) override {
    const auto wanted = context.getParams().getWanted();
    auto to = alive(to_);
    auto allowed = check(wanted, to->shared().options.bounds);
    return pass_on<msg<schema::FactorsChunk>>(
        *to, context, allowed, aggregator_of(to->shared(), wanted.getAdapter()),
        [&] { return msg<schema::FactorsWanted>::copy_of(wanted, limits{}.word_bytes_max); });
  }

  // -- jobs

  kj::Promise<void> createJob(CreateJobContext context) override {
    const auto request = context.getParams().getRequest();
    auto to = alive(to_);
    const auto& by = to->speaks_for();
    auto allowed = check(by, request);
    if (allowed && by.elsewhere && !to->shared().accounts[by.node].creates.take(to->now_s()))
      allowed =
          error{errc::rate_limited,
                "node " + by.node + " creates jobs too often; " + "create it at the head", 60000};
    return pass_on<msg<schema::Job>>(*to, context, allowed, coordinator_of(to->shared()), [&] {
      return msg<schema::JobRequest>::copy_of(request, limits{}.word_bytes_max);
    });
  }

  kj::Promise<void> jobs(JobsContext context) override {
    auto to = alive(to_);
    context.allowCancellation();
    return all_jobs(*to, {}).then([context, by = to->speaks_for()](jobs_reply&& all) mutable {
      auto seen = *all ? result<msg<schema::JobList>>(visible_to(by, **all)) : all->failure();
      fill(context.getResults().initResult(), seen);
    });
  }

  kj::Promise<void> cancelJob(CancelJobContext context) override {
    const std::string id = context.getParams().getId().cStr();
    auto to = alive(to_);
    auto allowed = check_job_id(context.getParams().getId());
    context.allowCancellation();
    return all_jobs(*to, allowed)
        .then([held = to_, id](jobs_reply&& all) {
          auto to = alive(held);
          auto known = *all ? check_cancel(to->speaks_for(), **all, id) : all->failure();
          return asked<msg<schema::Job>>(
              *to, known, coordinator_of(to->shared()), [] { return actors::cancel_atom::value; },
              [&] { return id; });
        })
        .then([context](actors::reply<msg<schema::Job>>&& outcome) mutable {
          fill(context.getResults().initResult(), *outcome);
        });
  }

 private:
  using jobs_reply = actors::reply<msg<schema::JobList>>;

  static kj::Promise<jobs_reply> all_jobs(head_connection& from, const result<void>& allowed) {
    return asked<msg<schema::JobList>>(from, allowed, coordinator_of(from.shared()),
                                       [] { return actors::list_atom::value; });
  }

  /// Asks `actor` what `args` make; a failure if it is not allowed, nobody is there to ask, or too
  /// many calls wait already.
  template <class T, class Actor, class... Args>
  static kj::Promise<actors::reply<T>> asked(head_connection& from, const result<void>& allowed,
                                             const result<Actor>& actor, Args... args) {
    const auto fail = [](const error& why) {
      return kj::Promise<actors::reply<T>>(actors::make_reply<T>(why));
    };
    if (!from.keeps_training_pace()) {
      return fail({errc::overloaded,
                   "node " + from.node() + " calls its head about training too often", 1000});
    }
    if (!allowed) return fail(allowed.failure());
    if (!actor) return fail(actor.failure());
    const auto open = from.training_calls();
    if (*open >= training_calls_max) {
      return fail({errc::overloaded,
                   "node " + from.node() + " has " + std::to_string(training_calls_max) +
                       " unanswered calls about training",
                   200});
    }
    ++*open;
    return ask<actors::reply<T>>(from.shared().courier, *actor, args()...).attach(kj::defer([open] {
      --*open;
    }));
  }

  /// Answers with what was asked.
  template <class T, class Context, class Actor, class... Args>
  static kj::Promise<void> pass_on(head_connection& from, Context context,
                                   const result<void>& allowed, const result<Actor>& actor,
                                   Args... args) {
    context.allowCancellation();
    auto answer = asked<T>(from, allowed, actor, args...);
    context.releaseParams();
    return answer.then([context](actors::reply<T>&& outcome) mutable {
      fill(context.getResults().initResult(), *outcome);
    });
  }

  std::weak_ptr<head_connection> to_;
};

}  // namespace

void refuse(const error& why) { kj::throwFatalException(to_exception(why)); }

std::shared_ptr<head_connection> alive(const std::weak_ptr<head_connection>& to) {
  auto there = to.lock();
  if (!there) refuse({errc::unavailable, "the session is over"});
  return there;
}

schema::Session::Client make_session(std::weak_ptr<head_connection> to) {
  return kj::heap<session_server>(std::move(to));
}

}  // namespace collm::link
