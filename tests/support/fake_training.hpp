// A site's store and a federation for gateway tests, in memory: what they are told is noted, what
// they answer is set by the test.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "gateway/federation_port.hpp"
#include "gateway/site_port.hpp"

namespace collm::gateway::fake {

class site_double : public site_port {
 public:
  std::map<std::string, std::string> remembered;  ///< answer id -> messages or prompt
  std::map<std::string, std::string> owners;      ///< answer id -> tenant
  std::map<std::string, std::string> answers;     ///< answer id -> right answer
  std::map<std::string, std::string> texts;       ///< file name -> text
  std::string name = "kitchen";
  std::vector<site_file> listed;

  const std::string& site() const override { return name; }
  void remember(std::string id, asked_question question) override {
    remembered[id] = question.messages.empty() ? question.prompt : question.messages;
    owners[id] = question.tenant;
  }
  void feedback(std::string id, std::string tenant, std::string answer,
                std::function<void(result<std::string>)> reply) override {
    if (!remembered.contains(id) || !(tenant.empty() || tenant == owners[id]))
      return reply(error{errc::not_found, "request " + id + " was never served here"});
    answers[id] = std::move(answer);
    reply(std::string("train"));
  }
  /// A line that does not start with '{' is bad.
  void add_file(std::string file, std::string text,
                std::function<void(result<site_file>)> reply) override {
    site_file out{"file-" + std::to_string(listed.size()), file, text.size(), 1700000000, 0, 0, 0};
    std::uint64_t line = 0;
    for (std::size_t at = 0; at < text.size();) {
      const auto end = std::min(text.find('\n', at), text.size());
      ++line;
      if (text[at] == '{') {
        ++out.added;
      } else {
        ++out.bad;
        out.first_bad.push_back({line, "it is not an object"});
      }
      at = end + 1;
    }
    texts[file] = std::move(text);
    if (out.added == 0) return reply(error{errc::bad_request, "no line of it can be used"});
    out.sets = {{"train", out.added}};
    listed.push_back(out);
    reply(std::move(out));
  }
  void files(std::function<void(std::vector<site_file>)> reply) override { reply(listed); }
  void remove_file(std::string id, std::function<void(result<void>)> reply) override {
    const auto gone = std::erase_if(listed, [&](const site_file& f) { return f.id == id; });
    reply(gone > 0 ? result<void>() : error{errc::not_found, "no file " + id});
  }
};

class federation_double : public federation_port {
 public:
  std::vector<std::string> asked;
  std::vector<msg<schema::Job>> list;
  /// Fills what rounds() tells; by itself one round, in its gate.
  std::function<void(schema::RoundList::Builder)> tell_rounds = [](schema::RoundList::Builder b) {
    auto round = b.initRounds(1)[0];
    round.setAdapter("assistant");
    round.setNumber(3);
    round.setState(schema::RoundState::GATE);
  };

  static msg<schema::Job> job(const std::string& id, schema::JobState state,
                              const std::string& adapter = "assistant",
                              const std::string& owner = "") {
    return msg<schema::Job>::build([&](schema::Job::Builder b) {
      b.setId(id);
      b.setAdapter(adapter);
      b.setState(state);
      b.setCreatedUnix(1700000000);
      b.setTrainingFile("file-0");
      b.setOwner(owner);
    });
  }

  void create_job(job_order order, reply<msg<schema::Job>> to) override {
    asked.push_back("create " + order.adapter + " " + std::to_string(order.rounds) + " " +
                    order.training_file + " " + order.suffix);
    if (order.adapter == "nobody")
      return to(error{errc::not_found, "no adapter nobody is trained"});
    list.push_back(job("ftjob-" + std::to_string(list.size()), schema::JobState::QUEUED,
                       order.adapter, order.owner));
    to(list.back());
  }
  void jobs(reply<msg<schema::JobList>> to) override {
    to(msg<schema::JobList>::build([&](schema::JobList::Builder b) {
      auto out = b.initJobs(static_cast<unsigned>(list.size()));
      for (unsigned i = 0; i < out.size(); ++i) out.setWithCaveats(i, *list[i].read());
    }));
  }
  void cancel_job(std::string id, reply<msg<schema::Job>> to) override {
    asked.push_back("cancel " + id);
    for (auto& one : list) {
      const auto is = one.read();
      if (id == is->getId().cStr())
        return to(one = job(id, schema::JobState::CANCELLED, is->getAdapter().cStr(),
                            is->getOwner().cStr()));
    }
    to(error{errc::not_found, "there is no job " + id});
  }
  void rounds(std::string adapter, reply<msg<schema::RoundList>> to) override {
    asked.push_back("rounds " + adapter);
    to(msg<schema::RoundList>::build(tell_rounds));
  }
  void explain(version_id version, reply<msg<schema::Explanation>> to) override {
    asked.push_back("explain " + to_string(version));
    if (version.number == 99) return to(error{errc::not_found, "no version 99"});
    to(msg<schema::Explanation>::build(
        [](schema::Explanation::Builder b) { b.setVerdict("it is better at both sites"); }));
  }
  void replay(std::string adapter, std::uint32_t round, std::string without,
              reply<msg<schema::Replay>> to) override {
    asked.push_back("replay " + adapter + " " + std::to_string(round) + " " + without);
    to(msg<schema::Replay>::build([&](schema::Replay::Builder b) { b.setRound(round); }));
  }
  void close_round(std::string adapter, std::string who, reply<void> to) override {
    asked.push_back("close " + adapter + " " + who);
    to({});
  }
  void rollback(std::string adapter, reply<msg<schema::VersionRecord>> to) override {
    asked.push_back("rollback " + adapter);
    to(msg<schema::VersionRecord>::build([&](schema::VersionRecord::Builder b) {
      b.setAdapter(adapter);
      b.setNumber(2);
    }));
  }
  void factors(version_id version, std::uint64_t at, std::uint32_t count,
               reply<msg<schema::FactorsChunk>> to) override {
    asked.push_back("factors " + to_string(version) + " " + std::to_string(at) + " " +
                    std::to_string(count));
    to(msg<schema::FactorsChunk>::build([](schema::FactorsChunk::Builder b) {
      b.setDigest("d1");
      b.setTotal(5);
      const kj::byte bytes[] = {1, 0, 13, 10, 255};
      b.setData(kj::arrayPtr(bytes, 5));
    }));
  }
};

}  // namespace collm::gateway::fake
