#include "federation/round_record.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>

namespace collm::federation {

namespace {

constexpr std::array<std::string_view, 18> kinds = {
    "opened",  "assigned", "began",         "uploading", "accepted",  "declined",
    "refused", "closed",   "voided",        "summed",    "candidate", "gate",
    "passed",  "canary",   "canary_passed", "serving",   "rejected",  "resumed"};

std::string encoded(std::string_view text) {
  constexpr char hex[] = "0123456789abcdef";
  std::string out;
  for (unsigned char c : text) {
    const bool plain = c > 0x20 && c < 0x7f && c != '%' && c != '=' && c != ',' && c != ':';
    if (plain) {
      out += static_cast<char>(c);
    } else {
      out += '%';
      out += hex[c >> 4];
      out += hex[c & 15];
    }
  }
  return out;
}

bool decode(std::string_view text, std::string& out) {
  out.clear();
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned value = 0;
    if (i + 2 >= text.size()) return false;
    const auto end = text.data() + i + 3;
    if (std::from_chars(text.data() + i + 1, end, value, 16).ptr != end) return false;
    out += static_cast<char>(value);
    i += 2;
  }
  return true;
}

template <class T>
std::string number(T value) {
  std::array<char, 32> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  return {digits.data(), end};
}

class line_writer {
 public:
  explicit line_writer(record_kind kind) : text_(to_string(kind)) {}
  void add(std::string_view key, const std::string& value) {
    if (!value.empty()) pair(key, encoded(value));
  }
  template <class T>
  void add(std::string_view key, T value) {
    if (value != T{}) pair(key, number(value));
  }
  void add(std::string_view key, bool value) {
    if (value) pair(key, "1");
  }
  void pair(std::string_view key, const std::string& value) {
    text_ += ' ';
    text_ += key;
    text_ += '=';
    text_ += value;
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

void write_ranks(const std::vector<std::uint32_t>& ranks, line_writer& w) {
  std::string text;
  for (const auto rank : ranks) text += (text.empty() ? "" : ",") + number(rank);
  if (!text.empty()) w.pair("ranks", text);
}

void write_setup(const round_setup& s, line_writer& w) {
  w.add("adapter", s.adapter);
  w.add("round", s.round);
  w.add("parent", s.parent);
  w.add("parent_digest", s.parent_digest);
  w.add("serving", s.serving);
  w.add("phase", s.phase);
  w.pair("trained", std::string(to_string(s.trained)));
  w.add("quorum", s.quorum);
  w.add("deadline", s.deadline_ms);
  w.add("fedbuff", s.fedbuff);
  w.add("canary", s.canary);
  w.add("median_norm", s.median_norm);
  std::string clients;
  for (const auto& p : s.participants)
    clients += (clients.empty() ? "" : ",") + encoded(p.client) + ":" + number(p.steps);
  if (!clients.empty()) w.pair("participants", clients);
}

class line_reader {
 public:
  bool split(std::string_view text) {
    kind_ = text.substr(0, text.find(' '));
    text.remove_prefix(kind_.size());
    while (!text.empty()) {
      text.remove_prefix(1);
      const auto field = text.substr(0, text.find(' '));
      const auto equals = field.find('=');
      if (equals == std::string_view::npos) return false;
      if (!fields_.emplace(field.substr(0, equals), field.substr(equals + 1)).second) return false;
      text.remove_prefix(field.size());
    }
    return true;
  }
  std::string_view kind() const { return kind_; }
  std::string_view take(std::string_view key) {
    const auto at = fields_.find(key);
    if (at == fields_.end()) return {};
    const auto value = at->second;
    fields_.erase(at);
    return value;
  }
  void read(std::string_view key, std::string& out) { fine_ &= decode(take(key), out); }
  void read(std::string_view key, bool& out) { out = take(key) == "1"; }
  template <class T>
  void read(std::string_view key, T& out) {
    const auto text = take(key);
    if (!text.empty()) fine_ &= number_of(text, out);
  }
  template <class T>
  static bool number_of(std::string_view text, T& out) {
    const auto end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, out);
    if constexpr (std::is_floating_point_v<T>) {
      if (!std::isfinite(out)) return false;
    }
    return read.ec == std::errc() && read.ptr == end;
  }
  void fail() { fine_ = false; }
  bool whole() const { return fine_ && fields_.empty(); }

 private:
  std::string_view kind_;
  std::map<std::string_view, std::string_view> fields_;
  bool fine_ = true;
};

void read_ranks(line_reader& r, std::vector<std::uint32_t>& out) {
  auto text = r.take("ranks");
  while (!text.empty()) {
    const auto item = text.substr(0, text.find(','));
    if (!line_reader::number_of(item, out.emplace_back())) return r.fail();
    text.remove_prefix(std::min(text.size(), item.size() + 1));
  }
}

void read_participants(line_reader& r, std::vector<participant>& out) {
  auto text = r.take("participants");
  while (!text.empty()) {
    const auto item = text.substr(0, text.find(','));
    const auto colon = item.find(':');
    participant p;
    const bool fine = colon != std::string_view::npos && decode(item.substr(0, colon), p.client) &&
                      line_reader::number_of(item.substr(colon + 1), p.steps);
    if (!fine) return r.fail();
    out.push_back(std::move(p));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
  }
}

void read_setup(line_reader& r, round_setup& s) {
  r.read("adapter", s.adapter);
  r.read("round", s.round);
  r.read("parent", s.parent);
  r.read("parent_digest", s.parent_digest);
  r.read("serving", s.serving);
  r.read("phase", s.phase);
  const auto trained = r.take("trained");
  bool known = false;
  for (auto t : {trained_factors::both, trained_factors::a_only, trained_factors::b_only}) {
    if (trained != to_string(t)) continue;
    s.trained = t;
    known = true;
  }
  if (!known) r.fail();
  s.quorum = 0;
  r.read("quorum", s.quorum);
  r.read("deadline", s.deadline_ms);
  r.read("fedbuff", s.fedbuff);
  r.read("canary", s.canary);
  r.read("median_norm", s.median_norm);
  read_participants(r, s.participants);
}

}  // namespace

std::string_view to_string(record_kind k) { return kinds[static_cast<std::size_t>(k)]; }

std::string to_text(const round_record& r) {
  line_writer w(r.kind);
  w.add("at", r.at_ms);
  w.add("client", r.client);
  w.add("task", r.task_round);
  w.add("attempt", r.attempt);
  w.add("digest", r.digest);
  w.add("tokens", r.tokens);
  w.add("staleness", r.staleness);
  w.add("norm", r.norm);
  write_ranks(r.ranks, w);
  w.add("version", r.version);
  w.add("undecided", r.undecided);
  w.add("reason", r.reason);
  if (r.kind == record_kind::opened) write_setup(r.setup, w);
  return w.take();
}

result<round_record> record_of(std::string_view text) {
  line_reader reader;
  const bool split = reader.split(text);
  const auto at = std::find(kinds.begin(), kinds.end(), reader.kind());
  if (!split || at == kinds.end())
    return error{errc::corrupt, "no record of a round: " + std::string(text.substr(0, 80))};
  round_record r;
  r.kind = static_cast<record_kind>(at - kinds.begin());
  reader.read("at", r.at_ms);
  reader.read("client", r.client);
  reader.read("task", r.task_round);
  reader.read("attempt", r.attempt);
  reader.read("digest", r.digest);
  reader.read("tokens", r.tokens);
  reader.read("staleness", r.staleness);
  reader.read("norm", r.norm);
  read_ranks(reader, r.ranks);
  reader.read("version", r.version);
  reader.read("undecided", r.undecided);
  reader.read("reason", r.reason);
  if (r.kind == record_kind::opened) read_setup(reader, r.setup);
  if (!reader.whole())
    return error{errc::corrupt, "a damaged record of a round: " + std::string(text.substr(0, 80))};
  return r;
}

}  // namespace collm::federation
