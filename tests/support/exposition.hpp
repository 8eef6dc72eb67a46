// A strict reader of Prometheus' text format 0.0.4: what it does not complain about, a Prometheus
// server takes.
#pragma once

#include <cmath>
#include <cstdlib>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace collm::testing_support {

class exposition {
 public:
  explicit exposition(const std::string& text) {
    if (!text.ends_with('\n')) complain("the last line has no end");
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) read(line);
    for (const auto& [family, type] : types_)
      if (type == "histogram") check_histogram(family);
  }

  std::vector<std::string> complaints;
  std::map<std::string, double> samples;  ///< by `name{labels}` as it stands there

  /// Values of `label` in the series of that name.
  std::set<std::string> values_of(const std::string& name, const std::string& label) const {
    std::set<std::string> out;
    for (const auto& [series, value] : samples) {
      if (!series.starts_with(name + "{")) continue;
      const auto at = series.find(label + "=\"");
      const auto from = at + label.size() + 2;
      if (at != std::string::npos) out.insert(series.substr(from, series.find('"', from) - from));
    }
    return out;
  }

 private:
  void complain(const std::string& what) { complaints.push_back(what); }

  void read(const std::string& line) {
    if (line.starts_with("# HELP ")) return;
    if (line.starts_with("# TYPE ")) return read_type(line.substr(7));
    if (line.starts_with("#") || line.empty()) return;
    read_sample(line);
  }

  void read_type(const std::string& rest) {
    const auto space = rest.find(' ');
    const auto family = rest.substr(0, space), type = rest.substr(space + 1);
    if (!types_.emplace(family, type).second) complain(family + " has two types");
    if (closed_.contains(family)) complain(family + " is told in two pieces");
    closed_.insert(current_);
    current_ = family;
  }

  void read_sample(const std::string& line) {
    const auto end = line.rfind(' ');
    const auto series = line.substr(0, end), number = line.substr(end + 1);
    const auto name = series.substr(0, series.find('{'));
    char* stop = nullptr;
    const double value = std::strtod(number.c_str(), &stop);
    if (stop == number.c_str() || *stop != '\0') complain(line + ": no number");
    if (!name.starts_with(current_)) complain(name + " stands below the type of " + current_);
    if (!samples.emplace(series, value).second) complain(series + " is there twice");
    check_labels(series);
  }

  /// {a="…",b="…"} with \\, \" and \n escaped.
  void check_labels(const std::string& series) {
    const auto open = series.find('{');
    if (open == std::string::npos) return;
    if (!series.ends_with('}')) return complain(series + ": labels have no end");
    std::size_t at = open + 1;
    std::set<std::string> names;
    while (at + 1 < series.size()) {
      const auto equals = series.find("=\"", at);
      if (equals == std::string::npos) return complain(series + ": a label has no value");
      if (!names.insert(series.substr(at, equals - at)).second)
        complain(series + ": a label twice");
      at = equals + 2;
      while (at < series.size() && series[at] != '"') at += series[at] == '\\' ? 2 : 1;
      if (at >= series.size()) return complain(series + ": a value has no end");
      at += series[at + 1] == ',' ? 2 : 1;
    }
  }

  /// Cumulative buckets up to +Inf, which is the count.
  void check_histogram(const std::string& family) {
    std::map<std::string, std::map<double, double>> buckets;  // by the other labels
    for (const auto& [series, value] : samples) {
      if (!series.starts_with(family + "_bucket{")) continue;
      const auto at = series.find("le=\"");
      const auto stop = series.find('"', at + 4);
      auto others = series.substr(0, at) + series.substr(stop + 1);
      const auto bound = series.substr(at + 4, stop - at - 4);
      buckets[others][bound == "+Inf" ? INFINITY : std::strtod(bound.c_str(), nullptr)] = value;
    }
    for (const auto& [series, rising] : buckets) {
      double before = 0;
      for (const auto& [bound, count] : rising) {
        if (count < before) complain(series + ": a bucket holds less than a smaller one");
        before = count;
      }
      if (!std::isinf(rising.rbegin()->first)) complain(series + ": no +Inf");
    }
  }

  std::map<std::string, std::string> types_;
  std::set<std::string> closed_;
  std::string current_;
};

}  // namespace collm::testing_support
