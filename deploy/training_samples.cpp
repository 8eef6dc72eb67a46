#include "deploy/training_samples.hpp"

#include <algorithm>

namespace collm::deploy {
namespace {

using ids = std::vector<std::int32_t>;

/// What the template adds for the answer: its tokens up to the one that ends the turn.
result<ids> answer_turn(const gateway::prompt_encoder& with, std::vector<text::chat_message> turns,
                        const std::string& answer, const ids& prompt) {
  turns.push_back({"assistant", answer});
  auto whole = with.chat.encode(*with.tokens, turns, false);
  if (!whole) return whole.failure();
  if (whole->size() <= prompt.size() || !std::equal(prompt.begin(), prompt.end(), whole->begin()))
    return error{errc::bad_request, "an answered chat does not go on from its question"};
  ids out(whole->begin() + static_cast<std::ptrdiff_t>(prompt.size()), whole->end());
  const auto end = std::find_if(out.begin(), out.end(),
                                [&](std::int32_t t) { return with.tokens->is_control(t); });
  if (end != out.end()) out.erase(end + 1, out.end());
  return out;
}

/// Plain statements about everyday things: nothing that any site would teach.
constexpr const char* general_text[] = {
    "Rain falls from clouds when the drops in them become too heavy to stay in the air.",
    "A bicycle stays upright while it moves because the rider keeps steering under the fall.",
    "Bread rises because yeast turns sugar into gas, which is caught in the dough.",
    "The moon shows us the same side all the time, since it turns once in each of its orbits.",
    "To borrow a book from a library, people show a card and bring the book back some weeks later.",
    "A river carries sand and stones downhill and leaves them where the water becomes slow.",
    "Most birds build a nest in spring, lay a few eggs and feed their young until they can fly.",
    "Glass is made by melting sand with soda and lime and cooling it before crystals can form.",
    "Trains are heavy, so a driver must begin to brake long before the station is in sight.",
    "When two people meet for the first time they often tell each other their names.",
    "Water boils at a lower temperature on a high mountain, so potatoes take longer to cook there.",
    "A map is a drawing of a place from above, in which every distance is made smaller alike.",
    "Bees visit flowers for nectar and carry pollen from one to the next while they do so.",
    "The heart pumps blood through the lungs, where it takes up oxygen, and then through the body.",
    "Paper was once made from old cloth; today most of it is made from wood.",
    "An echo is a sound that comes back after it has met a wall or the side of a hill.",
};

}  // namespace

result<engine::training_sample> encode_sample(const gateway::prompt_encoder& with,
                                              const store::site_row& row,
                                              std::uint32_t tokens_max) {
  auto turns = store::turns_of(row);
  if (!turns) return turns.failure();
  ids tokens, answer;
  if (turns->empty()) {
    tokens = with.tokens->encode_prompt(row.prompt);
    answer = with.tokens->encode(row.completion, false);
    if (with.tokens->vocab().eos >= 0) answer.push_back(with.tokens->vocab().eos);
  } else {
    std::vector<text::chat_message> chat;
    for (auto& [role, content] : *turns) chat.push_back({role, content});
    auto prompt = with.chat.encode(*with.tokens, chat, true);
    if (!prompt) return prompt.failure();
    auto turn = answer_turn(with, chat, row.completion, *prompt);
    if (!turn) return turn.failure();
    tokens = std::move(*prompt);
    answer = std::move(*turn);
  }
  engine::training_sample out;
  out.prompt_tokens = static_cast<std::uint32_t>(tokens.size());
  tokens.insert(tokens.end(), answer.begin(), answer.end());
  if (out.prompt_tokens == 0 || answer.empty())
    return error{errc::bad_request, "has an empty question or answer"};
  if (tokens.size() > tokens_max)
    return error{errc::too_large, "has " + std::to_string(tokens.size()) + " tokens, the most is " +
                                      std::to_string(tokens_max)};
  out.tokens = std::move(tokens);
  return out;
}

std::vector<engine::training_sample> guard_samples(const text::tokenizer& tokens) {
  std::vector<engine::training_sample> out;
  for (const char* text : general_text) {
    engine::training_sample s{.tokens = tokens.encode_prompt(text), .prompt_tokens = 1};
    if (s.tokens.size() >= 2) out.push_back(std::move(s));
  }
  return out;
}

}  // namespace collm::deploy
