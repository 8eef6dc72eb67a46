#include "deploy/site_gateway.hpp"

#include <algorithm>
#include <ctime>
#include <fstream>
#include <sstream>

#include "deploy/asker.hpp"
#include "gateway/access.hpp"

namespace collm::deploy {
namespace {

using gateway::site_file;
constexpr auto patience = std::chrono::seconds(10);
constexpr auto import_patience = std::chrono::seconds(120);
constexpr std::size_t id_digits = 24;

/// One file a line; its name, which has no control characters, is the rest of the line.
std::string line_of(const site_file& f) {
  std::ostringstream out;
  out << f.id << ' ' << f.bytes << ' ' << f.created << ' ' << f.added << ' ' << f.known << ' '
      << f.bad << ' ' << f.name << '\n';
  return out.str();
}

std::vector<site_file> read_index(const std::filesystem::path& at) {
  std::vector<site_file> files;
  std::ifstream in(at);
  for (std::string line; files.size() < file_index::files_max && std::getline(in, line);) {
    std::istringstream fields(line);
    site_file f;
    fields >> f.id >> f.bytes >> f.created >> f.added >> f.known >> f.bad;
    if (!fields) continue;
    fields.ignore(1);
    std::getline(fields, f.name);
    files.push_back(std::move(f));
  }
  return files;
}

result<site_file> file_of(const std::string& name, const std::string& text,
                          const store::import_report& report) {
  site_file f{"file-" + gateway::sha256_hex(text).substr(0, id_digits),
              name,
              text.size(),
              static_cast<std::int64_t>(std::time(nullptr)),
              report.added,
              report.known,
              report.bad,
              {},
              {}};
  for (std::size_t i = 0; i < store::data_sets_count; ++i) {
    f.sets.emplace_back(std::string(to_string(static_cast<store::data_set>(i))),
                        report.added_by_set[i]);
  }
  for (const auto& bad : report.first_bad) f.first_bad.push_back({bad.line, bad.reason});
  if (f.added + f.known > 0) return f;
  std::string why = "no line of " + name + " can be used";
  for (const auto& bad : f.first_bad)
    why += "; line " + std::to_string(bad.line) + ": " + bad.reason;
  return error{errc::bad_request, why};
}

}  // namespace

file_index::file_index(std::filesystem::path at) : at_(std::move(at)), files_(read_index(at_)) {}

result<void> file_index::put(site_file file) {
  const std::lock_guard lock(mutex_);
  file.sets.clear();
  file.first_bad.clear();
  std::erase_if(files_, [&](const site_file& f) { return f.id == file.id; });
  if (files_.size() == files_max) files_.erase(files_.begin());
  files_.push_back(std::move(file));
  return write();
}

result<void> file_index::remove(const std::string& id) {
  const std::lock_guard lock(mutex_);
  if (std::erase_if(files_, [&](const site_file& f) { return f.id == id; }) == 0)
    return error{errc::not_found, "there is no file '" + id + "' at this site"};
  return write();
}

std::vector<site_file> file_index::all() const {
  const std::lock_guard lock(mutex_);
  return files_;
}

result<void> file_index::write() const {
  if (at_.empty()) return {};
  auto fresh = at_;
  fresh += ".new";
  std::ofstream out(fresh, std::ios::trunc);
  for (const auto& f : files_) out << line_of(f);
  out.close();
  std::error_code failed;
  if (out) std::filesystem::rename(fresh, at_, failed);
  if (!out || failed) return error{errc::io, "cannot write the list of files " + at_.string()};
  return {};
}

site_gateway::site_gateway(caf::actor_system& system, actors::site_data_actor data,
                           std::string site, std::filesystem::path index)
    : system_(system),
      data_(std::move(data)),
      site_(std::move(site)),
      index_(std::make_shared<file_index>(std::move(index))) {}

void site_gateway::remember(std::string answer_id, gateway::asked_question question) {
  caf::anon_send(data_, actors::remember_atom::value, std::move(answer_id),
                 store::served_question{std::move(question.messages), std::move(question.prompt),
                                        std::move(question.tenant)});
}

void site_gateway::feedback(std::string answer_id, std::string tenant, std::string answer,
                            std::function<void(result<std::string>)> reply) {
  const auto done = [reply](const result<store::data_set>& set) {
    reply(set ? result<std::string>(std::string(to_string(*set)))
              : result<std::string>(set.failure()));
  };
  ask_reply<store::data_set>(system_, data_, patience, done, actors::feedback_atom::value,
                             std::move(answer_id), std::move(tenant), std::move(answer));
}

void site_gateway::add_file(std::string name, std::string text,
                            std::function<void(result<site_file>)> reply) {
  const auto done = [reply, index = index_, name,
                     text](const result<store::import_report>& report) {
    if (!report) return reply(report.failure());
    auto file = file_of(name, text, *report);
    if (!file) return reply(file.failure());
    if (auto listed = index->put(*file); !listed) return reply(listed.failure());
    reply(std::move(*file));
  };
  ask_reply<store::import_report>(system_, data_, import_patience, done, actors::import_atom::value,
                                  name, text);
}

void site_gateway::files(std::function<void(std::vector<site_file>)> reply) {
  reply(index_->all());
}

void site_gateway::remove_file(std::string id, std::function<void(result<void>)> reply) {
  reply(index_->remove(id));
}

}  // namespace collm::deploy
