#include "text/splitter.hpp"

#include "text/utf8.hpp"

namespace collm::text {

std::string_view splitter::next() {
  const character first = at(position_);
  if (first.size == 0) return {};
  const bool old = rule_ == split_rule::gpt2 || rule_ == split_rule::smollm;
  const std::size_t end = old ? end_by_gpt2(first) : end_by_qwen2(first);
  const std::string_view piece = text_.substr(position_, end - position_);
  position_ = end;
  return piece;
}

std::size_t splitter::end_by_gpt2(character first) const {
  const bool digits_alone = rule_ == split_rule::smollm;
  if (digits_alone && first.kind == char_class::number) return position_ + first.size;
  if (const std::size_t size = contraction(); size > 0) return position_ + size;
  if (first.kind != char_class::space) return run_end(position_, first.kind);
  if (text_[position_] == ' ') {
    const character second = at(position_ + 1);
    const bool joins =
        second.kind != char_class::space && !(digits_alone && second.kind == char_class::number);
    if (second.size > 0 && joins) return run_end(position_ + 1, second.kind);
  }
  return blanks_end(false);
}

std::size_t splitter::end_by_qwen2(character first) const {
  if (const std::size_t size = contraction(); size > 0) return position_ + size;
  if (first.kind == char_class::letter) return run_end(position_, char_class::letter);
  if (first.kind == char_class::number) return digits_end(rule_ == split_rule::llama3 ? 3 : 1);
  const std::size_t after = position_ + first.size;
  const character second = at(after);
  if (!breaks_line(position_) && second.size > 0 && second.kind == char_class::letter) {
    return run_end(after, char_class::letter);
  }
  if (first.kind == char_class::other) {
    return line_breaks_end(run_end(position_, char_class::other));
  }
  if (text_[position_] == ' ' && second.size > 0 && second.kind == char_class::other) {
    return line_breaks_end(run_end(after, char_class::other));
  }
  return blanks_end(true);
}

splitter::character splitter::at(std::size_t position) const {
  if (position >= text_.size()) return {};
  const utf8_step step = utf8_next(text_.substr(position));
  if (step.state != utf8_state::whole) return {char_class::other, 1};
  return {classify(step.point), step.size};
}

bool splitter::breaks_line(std::size_t position) const {
  return position < text_.size() && (text_[position] == '\r' || text_[position] == '\n');
}

std::size_t splitter::contraction() const {
  if (text_[position_] != '\'') return 0;
  const bool any_case = rule_ == split_rule::qwen2 || rule_ == split_rule::llama3;
  const auto same = [&](char c, char ending) {
    return c == ending || (any_case && c == ending - 'a' + 'A');
  };
  for (const std::string_view ending : {"s", "t", "re", "ve", "m", "ll", "d"}) {
    const std::string_view here = text_.substr(position_ + 1, ending.size());
    if (here.size() == ending.size() && same(here[0], ending[0]) &&
        same(here.back(), ending.back())) {
      return 1 + ending.size();
    }
  }
  // The long s is an s in another case.
  constexpr std::string_view long_s = "\xC5\xBF";
  const bool ends_in_long_s = text_.substr(position_ + 1, long_s.size()) == long_s;
  return any_case && ends_in_long_s ? 1 + long_s.size() : 0;
}

std::size_t splitter::run_end(std::size_t from, char_class kind) const {
  for (character c = at(from); c.size > 0 && c.kind == kind; c = at(from)) from += c.size;
  return from;
}

std::size_t splitter::digits_end(std::size_t count_max) const {
  std::size_t end = position_;
  for (std::size_t i = 0; i < count_max; ++i) {
    const character c = at(end);
    if (c.size == 0 || c.kind != char_class::number) break;
    end += c.size;
  }
  return end;
}

std::size_t splitter::line_breaks_end(std::size_t from) const {
  while (breaks_line(from)) ++from;
  return from;
}

// Blanks before a word leave their last one to it. Before a number that smollm's Digits has cut off
// already, and at the end, they stay together. Where asked for, they end with their last line
// break.
std::size_t splitter::blanks_end(bool to_last_line_break) const {
  std::size_t end = position_, last = position_, after_break = position_;
  character c = at(end);
  for (; c.size > 0 && c.kind == char_class::space; c = at(end)) {
    last = end;
    end += c.size;
    if (breaks_line(last)) after_break = end;
  }
  if (to_last_line_break && after_break > position_) return after_break;
  const bool cut_off = rule_ == split_rule::smollm && c.kind == char_class::number;
  return c.size > 0 && !cut_off && last > position_ ? last : end;
}

}  // namespace collm::text
