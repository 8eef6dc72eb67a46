#include "actors/bridge.hpp"

#include <algorithm>

#include "actors/replies.hpp"
#include "messages/token_chunk.hpp"

namespace collm::actors {

namespace {

using self_ptr = bridge_actor::stateful_pointer<bridge_state>;
constexpr std::size_t itl_samples_max = 4096;

class bridge {
 public:
  bridge(self_ptr self, bridge_deps deps, msg<schema::Request> request)
      : self_(self), s_(self->state), deps_(std::move(deps)) {
    s_.request = std::move(request);
    s_.credit = deps_.credit;
    const auto r = s_.request.read();
    s_.arrival_ms = now_ms(self_) - static_cast<double>(r->getAgeUs()) / 1000;
    s_.outcome.key = self_->id();
    s_.outcome.site = r->getSite();
    s_.outcome.prompt_tokens = r->getPrompt().size();
    s_.outcome.max_tokens = r->getMaxTokens();
    s_.outcome.choices = r->getChoices();
    s_.outcome.interactive = r->getInteractive();
    s_.outcome.by_number =
        std::string_view(r->getModel().cStr()).find('@') != std::string_view::npos;
  }

  void submit() {
    if (s_.over) return;
    if (s_.cancelled) {  // between two tries: nobody else holds it
      finish(finish_message(s_.request.read()->getId(), schema::FinishReason::CANCELLED, ""));
      return;
    }
    self_->send(deps_.router, s_.request, sink_actor(self_));
  }

  void accepted(const msg<schema::Accepted>& m) {
    if (s_.over) return;
    s_.accepted = true;
    s_.outcome.adapter = m.read()->getAdapter().cStr();
    s_.outcome.version = m.read()->getVersion();
    tell_began();
    deps_.stream.accepted(m);
    if (s_.cancelled) cancel();
  }

  void chunk(const msg<schema::TokenChunk>& m) {
    if (s_.over) return;
    note_times(m.read()->getTokens().size());
    if (s_.cancelled) return;
    s_.unsent.push_back(m);
    s_.unsent_tokens += weight_of(m);
    if (s_.unsent_tokens > deps_.unsent_tokens_max) {
      s_.slow = true;
      cancel();
      return;
    }
    drain();
  }

  void finish(const msg<schema::Finish>& m) {
    if (s_.over) return;
    s_.last = m;
    drain();
    if (!s_.over) tell_began();
  }

  void reject(const msg<schema::Reject>& m) {
    if (s_.over) return;
    const auto r = m.read();
    const auto why = error_of(*r);
    if (s_.accepted) {  // its engine is gone: what was streamed cannot be taken back
      finish(finish_message(r->getRequest(), schema::FinishReason::ERROR, why.message));
      return;
    }
    if (why.code == errc::unavailable && !s_.cancelled && s_.retries < deps_.retries_max) {
      ++s_.retries;
      self_->delayed_send(self_, deps_.retry_after * s_.retries, route_atom::value);
      return;
    }
    s_.outcome.how = request_outcome::kind::refused;
    s_.outcome.reason = std::string(to_string(why.code));
    deps_.stream.reject(m);
    close();
  }

  void credit(std::uint32_t chunks) {
    s_.credit += chunks;
    drain();
  }

  void cancel() {
    s_.cancelled = true;
    s_.unsent.clear();  // nobody reads them any more
    s_.unsent_tokens = 0;
    if (s_.over) return;
    if (!s_.last.empty()) return complete();  // the engine is done: nobody else would end this
    self_->send(deps_.router, cancel_atom::value, s_.request.read()->getId(), sink_actor(self_));
  }

  /// Its process stops: who has nothing yet is refused, who has begun gets the reason and no more.
  void end(const std::string& why) {
    if (s_.over) return;
    const auto id = s_.request.read()->getId();
    if (!s_.accepted) return reject(reject_message(id, {errc::draining, why, 5000}));
    s_.unsent.clear();
    s_.unsent_tokens = 0;
    finish(finish_message(id, schema::FinishReason::ERROR, why));
  }

 private:
  void tell_began() {
    const auto& o = s_.outcome;
    if (o.adapter.empty() || o.by_number) return;  // they say nothing of a canary
    self_->send(deps_.telemetry, request_began{.key = o.key,
                                               .site = o.site,
                                               .adapter = o.adapter,
                                               .version = o.version,
                                               .arrival_ms = s_.arrival_ms,
                                               .first_ms = s_.first_ms,
                                               .tokens_left_max = std::max(o.max_tokens, 1u) - 1,
                                               .computed = !s_.last.empty()});
  }

  void note_times(std::uint32_t count) {
    const double now = now_ms(self_);
    if (s_.first_ms < 0) {
      s_.first_ms = now;
      tell_began();
    } else if (s_.outcome.itl_ms.size() < itl_samples_max) {
      s_.outcome.itl_ms.push_back(static_cast<float>(now - s_.last_ms));
    }
    s_.last_ms = now;
    s_.tokens += count;
  }

  void drain() {
    while (s_.credit > 0 && !s_.unsent.empty()) {
      --s_.credit;
      s_.unsent_tokens -= weight_of(s_.unsent.front());
      deps_.stream.chunk(std::move(s_.unsent.front()));
      s_.unsent.pop_front();
    }
    if (!s_.last.empty() && s_.unsent.empty()) complete();
  }

  void complete() {
    const auto f = s_.last.read();
    auto reason = f->getReason();
    if (s_.cancelled) reason = schema::FinishReason::CANCELLED;  // what was unsent is lost
    if (s_.slow) reason = schema::FinishReason::SLOW_READER;
    account(*f, reason);
    if (reason == f->getReason()) {
      deps_.stream.finish(s_.last);
    } else {
      const auto* why = s_.slow ? "the reader fell too far behind" : "";
      deps_.stream.finish(finish_message(f->getRequest(), reason, why));
    }
    close();
  }

  void account(const schema::Finish::Reader& f, schema::FinishReason reason) {
    using kind = request_outcome::kind;
    auto& o = s_.outcome;
    switch (reason) {
      case schema::FinishReason::STOP:
        o.how = kind::answered, o.reason = "stop";
        break;
      case schema::FinishReason::LENGTH:
        o.how = kind::answered, o.reason = "length";
        break;
      case schema::FinishReason::CANCELLED:
        o.how = kind::cancelled, o.reason = "cancelled";
        break;
      case schema::FinishReason::SLOW_READER:
        o.how = kind::cancelled, o.reason = "slow_reader";
        break;
      default:
        o.how = kind::failed, o.reason = "error";
    }
    o.not_finite = f.getNotFinite();
    o.cached_tokens = f.getCachedTokens();
    o.completion_tokens = s_.tokens;
    o.queue_ms = static_cast<double>(f.getQueueUs()) / 1000;
    o.prefill_ms = static_cast<double>(f.getPrefillUs()) / 1000;
    o.decode_ms = static_cast<double>(f.getDecodeUs()) / 1000;
    if (s_.first_ms < 0) return;
    o.ttft_ms = s_.first_ms - s_.arrival_ms;
    o.e2e_ms = s_.last_ms - s_.arrival_ms;
    const auto each = s_.tokens / std::max(1u, o.choices);
    if (each > 1) o.tpot_ms = (s_.last_ms - s_.first_ms) / (each - 1);
  }

  void close() {
    s_.over = true;
    self_->send(deps_.telemetry, s_.outcome);
    deps_.ended(s_.request.read()->getId());
    self_->quit();
  }

  self_ptr self_;
  bridge_state& s_;
  bridge_deps deps_;
};

}  // namespace

bridge_actor::behavior_type bridge_behavior(self_ptr self, bridge_deps deps,
                                            msg<schema::Request> request) {
  auto counts = deps.counts;
  watch(self, counts);
  auto d = std::make_shared<bridge>(self, std::move(deps), std::move(request));
  const auto m = metered(self, counts);
  d->submit();
  return {
      m([d](const msg<schema::Accepted>& a) { d->accepted(a); }),
      m([d](const msg<schema::TokenChunk>& c) { d->chunk(c); }),
      m([d](const msg<schema::Finish>& f) { d->finish(f); }),
      m([d](const msg<schema::Reject>& r) { d->reject(r); }),
      m([d](credit_atom, std::uint32_t n) { d->credit(n); }),
      m([d](cancel_atom) { d->cancel(); }),
      m([d](drain_atom, const std::string& why) { d->end(why); }),
      m([d](route_atom) { d->submit(); }),
  };
}

}  // namespace collm::actors
