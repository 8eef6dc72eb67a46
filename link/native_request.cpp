#include "link/native_request.hpp"

#include <cmath>

namespace collm::link {
namespace {

using gateway::prompt_encoder;

error bad(const std::string& field, const std::string& right) {
  return {errc::bad_request, field + " must be " + right};
}

result<void> check_sampling(schema::Sampling::Reader s, const limits& bounds) {
  const auto within = [](float value, float low, float high) {
    return value >= low && value <= high;
  };
  if (!within(s.getTemperature(), 0, 2)) return bad("sampling.temperature", "from 0 to 2");
  if (!within(s.getTopP(), 0, 1) || s.getTopP() == 0)
    return bad("sampling.topP", "above 0, at most 1");
  if (!within(s.getMinP(), 0, 1)) return bad("sampling.minP", "from 0 to 1");
  if (!within(s.getRepetitionPenalty(), 0, 10) || s.getRepetitionPenalty() == 0) {
    return bad("sampling.repetitionPenalty", "above 0, at most 10");
  }
  if (!within(s.getPresencePenalty(), -2, 2))
    return bad("sampling.presencePenalty", "from -2 to 2");
  if (!within(s.getFrequencyPenalty(), -2, 2))
    return bad("sampling.frequencyPenalty", "from -2 to 2");
  const int most = static_cast<int>(bounds.top_logprobs_max);
  if (s.getLogprobs() < -1 || s.getLogprobs() > most) {
    return bad("sampling.logprobs", "from -1 (none) to " + std::to_string(most));
  }
  return {};
}

result<void> check_stops(capnp::List<capnp::Text>::Reader stops, const limits& bounds) {
  if (stops.size() > bounds.stop_strings_max) {
    return bad("stops", "at most " + std::to_string(bounds.stop_strings_max) + " strings");
  }
  for (auto stop : stops) {
    if (stop.size() == 0 || stop.size() > bounds.stop_string_bytes_max) {
      return bad("a stop string",
                 "1 to " + std::to_string(bounds.stop_string_bytes_max) + " bytes long");
    }
  }
  return {};
}

/// Names are handled as C strings behind the edge, where a NUL would cut them silently.
result<void> check_name(const std::string& field, capnp::Text::Reader name) {
  for (const char c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      return bad(field, "a name without control characters");
  }
  return {};
}

result<prompt_encoder::input> read_input(schema::TextRequest::Input::Reader input,
                                         const limits& bounds) {
  if (input.isPrompt())
    return prompt_encoder::input(std::string(input.getPrompt().cStr(), input.getPrompt().size()));
  const auto messages = input.getMessages();
  if (messages.size() == 0 || messages.size() > bounds.messages_max) {
    return bad("messages", "1 to " + std::to_string(bounds.messages_max) + " messages");
  }
  std::vector<text::chat_message> chat;
  for (auto m : messages) {
    const std::string role = m.getRole().cStr();
    if (role != "system" && role != "user" && role != "assistant") {
      return bad("a message's role", "system, user or assistant, not \"" + role + "\"");
    }
    chat.push_back({role, std::string(m.getContent().cStr(), m.getContent().size())});
  }
  return prompt_encoder::input(std::move(chat));
}

msg<schema::Request> build(schema::TextRequest::Reader from, request_id id,
                           const prompt_encoder::encoded& tokens) {
  return msg<schema::Request>::build([&](schema::Request::Builder to) {
    to.setId(id);
    to.setModel(from.getModel());
    auto prompt = to.initPrompt(static_cast<unsigned>(tokens.prompt.size()));
    for (unsigned i = 0; i < prompt.size(); ++i) {
      prompt.set(i, static_cast<std::uint32_t>(tokens.prompt[i]));
    }
    to.setMaxTokens(tokens.max_tokens);
    to.setSampling(from.getSampling());
    to.setStops(from.getStops());
    to.setIgnoreEos(from.getIgnoreEos());
    to.setChoices(from.getChoices());
    to.setSite(from.getSite());
  });
}

}  // namespace

result<msg<schema::Request>> to_request(schema::TextRequest::Reader from, request_id id,
                                        const encode_function& encode, const limits& bounds) {
  if (auto fits = check_name("model", from.getModel()); !fits) return fits.failure();
  if (auto fits = check_name("site", from.getSite()); !fits) return fits.failure();
  if (auto fits = check_sampling(from.getSampling(), bounds); !fits) return fits.failure();
  if (auto fits = check_stops(from.getStops(), bounds); !fits) return fits.failure();
  if (from.getChoices() < 1 || from.getChoices() > bounds.choices_max) {
    return bad("choices", "1 to " + std::to_string(bounds.choices_max));
  }
  auto input = read_input(from.getInput(), bounds);
  if (!input) return input.failure();
  auto tokens = encode(*input, from.getMaxTokens(), ~0u);  // 0: what fits the context
  if (!tokens) return tokens.failure();
  return build(from, id, *tokens);
}

}  // namespace collm::link
