#include "gateway/json_body.hpp"

namespace collm::gateway {
namespace {

using json = nlohmann::json;

// First pass: keeps nothing, so a hostile document costs no memory before it is refused.
class depth_check final : public nlohmann::json_sax<json> {
 public:
  explicit depth_check(std::uint32_t depth_max) : depth_max_(depth_max) {}

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(std::size_t) override { return enter(); }
  bool end_object() override { return leave(); }
  bool start_array(std::size_t) override { return enter(); }
  bool end_array() override { return leave(); }
  bool parse_error(std::size_t position, const std::string&, const json::exception& e) override {
    problem_ =
        "the body is not valid JSON at byte " + std::to_string(position) + ": " + plain(e.what());
    return false;
  }
  const std::string& problem() const { return problem_; }

 private:
  bool enter() {
    if (++depth_ <= depth_max_) return true;
    problem_ = "the body nests deeper than " + std::to_string(depth_max_) + " levels";
    return false;
  }
  bool leave() {
    --depth_;
    return true;
  }
  // The library's text starts with "[json.exception.parse_error.101] ".
  static std::string plain(std::string text) {
    const auto end = text.find("] ");
    return end == std::string::npos ? text : text.substr(end + 2);
  }

  std::uint32_t depth_max_;
  std::uint32_t depth_ = 0;
  std::string problem_;
};

}  // namespace

result<json> parse_object(std::string_view text, std::uint32_t depth_max) {
  if (text.empty()) return error{errc::bad_request, "the body is empty; a JSON object is expected"};
  depth_check check(depth_max);
  if (!json::sax_parse(text, &check)) return error{errc::bad_request, check.problem()};
  json document = json::parse(text, nullptr, false);
  if (!document.is_object()) {
    return error{errc::bad_request, std::string("the body is a JSON ") + document.type_name() +
                                        "; a JSON object is expected"};
  }
  return document;
}

}  // namespace collm::gateway
