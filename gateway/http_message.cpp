#include "gateway/http_message.hpp"

#include <array>
#include <charconv>
#include <ctime>

namespace collm::gateway {
namespace {

std::string_view reason_of(unsigned status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 302:
      return "Found";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Payload Too Large";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
  }
  return "Status";
}

// RFC 9110: IMF-fixdate, in English whatever the process's locale.
std::string http_date() {
  static constexpr std::array days{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t now = std::time(nullptr);
  std::tm t{};
  gmtime_r(&now, &t);
  char rest[40];
  std::strftime(rest, sizeof rest, "%Y %H:%M:%S GMT", &t);
  char day[8];
  std::strftime(day, sizeof day, "%d", &t);
  return std::string(days[static_cast<std::size_t>(t.tm_wday)]) + ", " + day + " " +
         months[static_cast<std::size_t>(t.tm_mon)] + " " + rest;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

const std::string* http_request::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return &value;
  }
  return nullptr;
}

std::size_t http_request::header_count(std::string_view name) const {
  std::size_t count = 0;
  for (const auto& [key, value] : headers) count += key == name ? 1 : 0;
  return count;
}

std::optional<std::string> http_request::parameter(std::string_view name) const {
  std::string_view rest = query;
  while (!rest.empty()) {
    const auto end = std::min(rest.find('&'), rest.size());
    const auto pair = rest.substr(0, end);
    const auto equals = std::min(pair.find('='), pair.size());
    if (pair.substr(0, equals) == name) {
      return percent_decode(equals == pair.size() ? std::string_view{} : pair.substr(equals + 1));
    }
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return std::nullopt;
}

std::string head_bytes(const http_response& response, const http_framing& framing) {
  std::string out = framing.version == 10 ? "HTTP/1.0 " : "HTTP/1.1 ";
  out += std::to_string(response.status);
  out += ' ';
  out += reason_of(response.status);
  out += "\r\ndate: " + http_date() + "\r\nserver: collm\r\n";
  out += framing.keep_alive ? "connection: keep-alive\r\n" : "connection: close\r\n";
  if (!response.content_type.empty() && response.status != 204) {
    out += "content-type: " + response.content_type + "\r\n";
  }
  if (framing.chunked) {
    out += "transfer-encoding: chunked\r\n";
  } else if (!framing.until_close && response.status != 204) {
    out += "content-length: " + std::to_string(response.body.size()) + "\r\n";
  }
  for (const auto& [name, value] : response.headers) out += name + ": " + value + "\r\n";
  out += "\r\n";
  return out;
}

std::string chunk_bytes(std::string_view data) {
  if (data.empty()) return {};
  char size[20];
  const auto end = std::to_chars(size, size + sizeof size, data.size(), 16);
  std::string out(size, end.ptr);
  out += "\r\n";
  out += data;
  out += "\r\n";
  return out;
}

std::optional<std::string> percent_decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = hex_value(text[i + 1]), low = hex_value(text[i + 2]);
    if (high < 0 || low < 0 || (high == 0 && low == 0)) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

}  // namespace collm::gateway
