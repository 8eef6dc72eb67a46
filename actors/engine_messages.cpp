#include "actors/engine_messages.hpp"

#include <algorithm>

namespace collm::actors {

using running_request = engine_state::running_request;

namespace {

schema::FinishReason wire(engine::finish_reason r) {
  switch (r) {
    case engine::finish_reason::stop:
      return schema::FinishReason::STOP;
    case engine::finish_reason::length:
      return schema::FinishReason::LENGTH;
    case engine::finish_reason::failed:
      return schema::FinishReason::ERROR;
    case engine::finish_reason::none:
      break;
  }
  return schema::FinishReason::NONE;
}

}  // namespace

engine::sequence_spec spec_of(const schema::Request::Reader& r, const version_id& version) {
  engine::sequence_spec spec;
  spec.version = version;
  spec.prompt.reserve(r.getPrompt().size());
  for (auto t : r.getPrompt()) spec.prompt.push_back(static_cast<std::int32_t>(t));
  const auto s = r.getSampling();
  spec.how = {.temperature = s.getTemperature(),
              .top_k = static_cast<std::int32_t>(s.getTopK()),
              .top_p = s.getTopP(),
              .min_p = s.getMinP(),
              .repetition_penalty = s.getRepetitionPenalty(),
              .presence_penalty = s.getPresencePenalty(),
              .frequency_penalty = s.getFrequencyPenalty(),
              .seed = s.getSeed(),
              .logprobs = s.getLogprobs()};
  spec.max_tokens = r.getMaxTokens();
  for (auto stop : r.getStops()) spec.stops.emplace_back(stop.cStr(), stop.size());
  spec.ignore_eos = r.getIgnoreEos();
  spec.cache_salt = r.getCacheSalt();
  return spec;
}

msg<schema::Accepted> accepted_message(const running_request& run, const std::string& digest,
                                       const std::string& replica) {
  return msg<schema::Accepted>::build([&](schema::Accepted::Builder b) {
    b.setRequest(run.id);
    b.setAdapter(run.version.name);
    b.setVersion(run.version.number);
    b.setDigest(digest);
    b.setReplica(replica);
    b.setPromptTokens(run.prompt_tokens);
  });
}

msg<schema::TokenChunk> chunk_message(const engine::emission& e, running_request& run,
                                      std::uint16_t choice) {
  return msg<schema::TokenChunk>::build([&](schema::TokenChunk::Builder b) {
    b.setRequest(run.id);
    b.setSeq(run.next_seq++);
    b.setChoice(choice);
    b.setText(e.text);
    b.setFinish(wire(e.finish));
    auto t = b.initTokens(1)[0];
    t.setId(static_cast<std::uint32_t>(e.token));
    if (!run.wants_logprobs) return;
    t.setLogprob(e.logprob);
    auto top = t.initTop(static_cast<std::uint32_t>(e.top.size()));
    for (std::uint32_t i = 0; i < e.top.size(); ++i) {
      top[i].setToken(static_cast<std::uint32_t>(e.top[i].token));
      top[i].setLogprob(e.top[i].logprob);
    }
  });
}

msg<schema::Finish> finish_message(const running_request& run, schema::FinishReason reason,
                                   const std::string& message, double now_ms) {
  return msg<schema::Finish>::build([&](schema::Finish::Builder b) {
    const auto us = [](double ms) { return static_cast<std::uint64_t>(std::max(0.0, ms) * 1000); };
    const double scheduled = run.scheduled_ms < 0 ? now_ms : run.scheduled_ms;
    const double first = run.first_token_ms < 0 ? now_ms : run.first_token_ms;
    b.setRequest(run.id);
    b.setReason(reason);
    b.setPromptTokens(run.prompt_tokens);
    b.setCachedTokens(run.cached_tokens);
    b.setCompletionTokens(run.completion_tokens);
    b.setQueueUs(us(scheduled - run.admitted_ms));
    b.setPrefillUs(us(first - scheduled));
    b.setDecodeUs(us(now_ms - first));
    b.setMessage(message);
    b.setNotFinite(run.not_finite);
  });
}

}  // namespace collm::actors
