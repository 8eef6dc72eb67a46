#include "link/node_service.hpp"

#include "link/outcome.hpp"
#include "link/token_pump.hpp"

namespace collm::link {
namespace {

using schema::Finish;
using schema::Reject;
using schema::VersionRecord;

/// Ends the stream if the sink goes away without an end: whoever held the request has died.
struct last_word {
  explicit last_word(std::shared_ptr<stream_buffer> stream) : to(std::move(stream)) {}
  last_word(const last_word&) = delete;
  const std::shared_ptr<stream_buffer> to;
  ~last_word() { to->abandon("the actor that served the request has ended"); }
};

actors::sink_actor::behavior_type sink_behavior(actors::sink_actor::pointer self,
                                                const std::shared_ptr<last_word>& end) {
  return {
      [end](const msg<schema::Accepted>& m) { end->to->push(m); },
      [end](const msg<schema::TokenChunk>& m) { end->to->push(m); },
      [end, self](const msg<Finish>& m) {
        end->to->push(m);
        self->quit();
      },
      [end, self](const msg<Reject>& m) {
        end->to->push(m);
        self->quit();
      },
  };
}

actors::sink_actor spawn_sink(caf::actor_system& system, const std::shared_ptr<stream_buffer>& to) {
  auto end = std::make_shared<last_word>(to);
  return system.spawn(sink_behavior, std::move(end));
}

/// One Node.generate. Its end without an answer is a cancel: the head dropped the call, or the
/// connection was lost.
class generation {
 public:
  generation(std::shared_ptr<node_context> context, const msg<schema::Request>& request,
             schema::TokenSink::Client to)
      : context_(std::move(context)), id_(request.read()->getId()) {
    ++context_->generations_begun;
    ++*context_->generations_open;
    auto buffer = std::make_shared<stream_buffer>(context_->on.outside(), id_,
                                                  context_->bounds.stream_unsent_tokens_max);
    pump_ = std::make_shared<token_pump>(buffer, kj::mv(to), nullptr);
    buffer->read_by(pump_);
    auto sink = spawn_sink(context_->system, buffer);
    // Only the serving side keeps the sink alive, so that its death is seen.
    sink_ = caf::actor_cast<caf::weak_actor_ptr>(sink);
    caf::anon_send(context_->actors.router, request, sink);
  }
  generation(const generation&) = delete;
  ~generation() {
    --*context_->generations_open;
    if (pump_->source_ended()) return;
    if (auto sink = caf::actor_cast<caf::strong_actor_ptr>(sink_)) {
      caf::anon_send<caf::message_priority::high>(context_->actors.router,
                                                  actors::cancel_atom::value, id_,
                                                  caf::actor_cast<actors::sink_actor>(sink));
    }
  }

  kj::Promise<void> run() { return pump_->run(); }

  void answer(schema::GenerateResult::Builder to) const {
    const auto& outcome = pump_->outcome();
    if (const auto* reject = std::get_if<msg<Reject>>(&outcome)) {
      to.setReject(*reject->read());
    } else {
      to.setFinish(*std::get<msg<Finish>>(outcome).read());
    }
  }

 private:
  const std::shared_ptr<node_context> context_;
  const request_id id_;
  caf::weak_actor_ptr sink_;
  std::shared_ptr<token_pump> pump_;
};

class node_server final : public schema::Node::Server {
 public:
  explicit node_server(std::shared_ptr<node_context> context) : context_(std::move(context)) {}

  kj::Promise<void> generate(GenerateContext context) override {
    context.allowCancellation();
    auto params = context.getParams();
    auto call = kj::heap<generation>(context_, msg<schema::Request>::copy_of(params.getRequest()),
                                     params.getSink());
    context.releaseParams();
    auto& running = *call;
    return running.run()
        .then([context, &running]() mutable { running.answer(context.getResults().initResult()); })
        .attach(kj::mv(call));
  }

  kj::Promise<void> load(LoadContext context) override {
    context.allowCancellation();
    const auto params = context.getParams();
    return ask<record_reply>(context_->courier, context_->actors.node, actors::load_atom::value,
                             std::string(params.getAdapter().cStr()),
                             std::string(params.getFolder().cStr()))
        .then([context](record_reply&& outcome) mutable {
          fill(context.getResults().initResult(), *outcome);
        });
  }

  kj::Promise<void> unload(UnloadContext context) override {
    context.allowCancellation();
    const auto params = context.getParams();
    return ask<actors::reply<void>>(context_->courier, context_->actors.node,
                                    actors::unload_atom::value,
                                    version_id{params.getAdapter().cStr(), params.getNumber()})
        .then([](actors::reply<void>&& outcome) {
          if (!*outcome) kj::throwFatalException(to_exception(outcome->failure()));
        });
  }

  kj::Promise<void> drain(DrainContext context) override {
    context.allowCancellation();
    return ask<actors::reply<void>>(context_->courier, context_->actors.node,
                                    actors::drain_atom::value, context.getParams().getDeadlineMs())
        .then([](actors::reply<void>&& outcome) {
          if (!*outcome) kj::throwFatalException(to_exception(outcome->failure()));
        });
  }

  kj::Promise<void> rotate(RotateContext context) override {
    return context_->renew().then(
        [context]() mutable { fill(context.getResults().initResult(), result<void>()); },
        [context](kj::Exception&& e) mutable {
          fill(context.getResults().initResult(), result<void>(from_exception(e)));
        });
  }

  kj::Promise<void> status(StatusContext context) override {
    context.allowCancellation();
    return ask<msg<schema::Snapshot>>(context_->courier, context_->actors.telemetry,
                                      actors::list_atom::value)
        .then([context](msg<schema::Snapshot>&& last) mutable {
          context.getResults().setSnapshot(*last.read());
        });
  }

  kj::Promise<void> versions(VersionsContext context) override {
    context.allowCancellation();
    return ask<msg<schema::VersionList>>(context_->courier, context_->actors.router,
                                         actors::list_atom::value)
        .then([context](msg<schema::VersionList>&& list) mutable {
          context.getResults().setList(*list.read());
        });
  }

  kj::Promise<void> version(VersionContext context) override {
    caf::anon_send(context_->actors.router,
                   msg<VersionRecord>::copy_of(context.getParams().getRecord()));
    return kj::READY_NOW;
  }

 private:
  using record_reply = actors::reply<msg<VersionRecord>>;
  std::shared_ptr<node_context> context_;
};

}  // namespace

schema::Node::Client make_node_service(std::shared_ptr<node_context> context) {
  return kj::heap<node_server>(std::move(context));
}

}  // namespace collm::link
