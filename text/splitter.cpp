#include "text/splitter.hpp"

#include "text/utf8.hpp"

namespace collm::text {

std::string_view splitter::next() {
  const character first = at(position_);
  if (first.size == 0) return {};
  if (first.kind == char_class::number) return take(position_ + first.size);
  if (const std::size_t size = contraction(); size > 0) return take(position_ + size);
  if (first.kind != char_class::space) return take(run_end(position_, first.kind));
  if (text_[position_] == ' ') {
    const character second = at(position_ + 1);
    if (second.kind == char_class::letter || second.kind == char_class::other) {
      return take(run_end(position_ + 1, second.kind));
    }
  }
  return take(blanks_end());
}

splitter::character splitter::at(std::size_t position) const {
  if (position >= text_.size()) return {};
  const utf8_step step = utf8_next(text_.substr(position));
  if (step.state != utf8_state::whole) return {char_class::other, 1};
  return {classify(step.point), step.size};
}

std::size_t splitter::contraction() const {
  if (text_[position_] != '\'') return 0;
  for (const std::string_view ending : {"s", "t", "re", "ve", "m", "ll", "d"}) {
    if (text_.substr(position_ + 1, ending.size()) == ending) return 1 + ending.size();
  }
  return 0;
}

std::size_t splitter::run_end(std::size_t from, char_class kind) const {
  for (character c = at(from); c.size > 0 && c.kind == kind; c = at(from)) from += c.size;
  return from;
}

// Blanks before a word leave their last one to it. Before a number or the end they stay together,
// since Digits has cut there already and the expression sees the end of its text.
std::size_t splitter::blanks_end() const {
  std::size_t end = position_;
  std::size_t last = position_;
  character c = at(end);
  for (; c.size > 0 && c.kind == char_class::space; c = at(end)) {
    last = end;
    end += c.size;
  }
  const bool word_follows = c.size > 0 && c.kind != char_class::number;
  return word_follows && last > position_ ? last : end;
}

std::string_view splitter::take(std::size_t end) {
  const std::string_view piece = text_.substr(position_, end - position_);
  position_ = end;
  return piece;
}

}  // namespace collm::text
