#include "tests/simulation/cluster/gateway.hpp"

#include "tests/simulation/cluster/law_names.hpp"
#include "tests/support/modelled_executor.hpp"

namespace collm::simulation {

std::string_view to_string(ending e) {
  constexpr std::string_view names[] = {"open",    "answered", "cut off", "cancelled",
                                        "refused", "failed",   "lost"};
  return names[static_cast<std::size_t>(e)];
}

std::string account::text() const {
  return "request " + std::to_string(serial) + " (" + (asked.model.empty() ? "\"\"" : asked.model) +
         (site.empty() ? "" : " at " + site) + ", id " + std::to_string(id) + ", " +
         std::string(to_string(how)) + (reason.empty() ? "" : ": " + reason) + ")";
}

std::vector<std::int32_t> prompt_of(const wanted_request& r) {
  std::vector<std::int32_t> out;
  for (std::uint32_t i = 0; i < r.prompt; ++i)
    out.push_back(static_cast<std::int32_t>((r.seed * 31 + i * 7) % 1000));
  return out;
}

bool known_versions::note(const version_id& id, const std::string& digest, std::string& other) {
  const auto [at, fresh] = digests_.emplace(id, digest);
  other = at->second;
  return fresh || at->second == digest;
}

sim_gateway::sim_gateway(world& in, process_ptr proc, gateway_ends ends)
    : in_(in), proc_(std::move(proc)), ends_(std::move(ends)) {}

account_ptr sim_gateway::send(const wanted_request& asked, const std::string& site,
                              std::uint64_t serial) {
  auto a = std::make_shared<account>();
  a->serial = serial;
  a->id = next_++;
  a->asked = asked;
  a->site = site;
  a->tokens.resize(asked.choices);
  accounts_[a->id] = a;
  const auto request = msg<schema::Request>::build([&](schema::Request::Builder b) {
    b.setId(a->id);
    b.setModel(asked.model);
    const auto tokens = prompt_of(asked);
    auto p = b.initPrompt(static_cast<std::uint32_t>(tokens.size()));
    for (std::uint32_t i = 0; i < p.size(); ++i) p.set(i, static_cast<std::uint32_t>(tokens[i]));
    b.setMaxTokens(asked.max_tokens);
    b.setChoices(static_cast<std::uint16_t>(asked.choices));
    b.initSampling().setSeed(asked.seed);
    b.setInteractive(asked.interactive);
    b.setSite(site);
  });
  ++in_flight_;
  actors::bridge_deps deps{.router = ends_.router,
                           .telemetry = ends_.telemetry,
                           .stream = calls_of(a),
                           .ended =
                               [this, a](request_id) {
                                 --in_flight_;
                                 if (++a->ended_calls != 1 || a->how == ending::open)
                                   breach(*a, law::once, "it left the books without an end");
                               },
                           .credit = asked.reads_every.count() > 0 ? credit : 1u << 30,
                           .unsent_tokens_max = unsent_tokens_max,
                           .counts = ends_.bridges};
  const auto bridge = proc_->spawn(actors::bridge_behavior, std::move(deps), request);
  bridges_[a->id] = bridge;
  if (asked.cancel_after.count() > 0)
    in_.later(asked.cancel_after, [proc = proc_, bridge] {
      if (proc->alive) caf::anon_send(bridge, actors::cancel_atom::value);
    });
  if (asked.reads_every.count() > 0) read_on(a, bridge);
  return a;
}

void sim_gateway::read_on(const account_ptr& a, const actors::bridge_actor& bridge) {
  in_.later(a->asked.reads_every, [this, a, bridge] {
    if (!proc_->alive || a->how != ending::open) return;
    caf::anon_send(bridge, actors::credit_atom::value, std::uint32_t{1});
    read_on(a, bridge);
  });
}

void sim_gateway::lose() {
  for (auto& [id, a] : accounts_)
    if (a->how == ending::open) end(*a, ending::lost, proc_->name + " ended");
  bridges_.clear();
}

actors::stream_calls sim_gateway::calls_of(const account_ptr& a) {
  return {.accepted = [this, a](msg<schema::Accepted> m) { accepted(*a, *m.read()); },
          .chunk = [this, a](msg<schema::TokenChunk> m) { chunk(*a, *m.read()); },
          .finish =
              [this, a](msg<schema::Finish> m) {
                finish(*a, *m.read());
                if (in_.breaks(sabotage::double_finish)) finish(*a, *m.read());
              },
          .reject = [this, a](msg<schema::Reject> m) { reject(*a, *m.read()); }};
}

void sim_gateway::breach(const account& a, const char* law, const std::string& how) {
  in_.breach(law, a.text() + ": " + how);
}

void sim_gateway::accepted(account& a, const schema::Accepted::Reader& m) {
  if (a.how != ending::open) return breach(a, law::once, "Accepted after its end");
  if (a.accepted) return breach(a, law::one_version, "accepted twice");
  a.accepted = true;
  a.adapter = m.getAdapter().cStr();
  a.version = m.getVersion();
  a.digest = m.getDigest().cStr();
  a.replica = m.getReplica().cStr();
  const auto id = version_id{a.adapter, a.version};
  in_.note("request " + std::to_string(a.serial) + " is accepted as " + collm::to_string(id) +
           " by " + a.replica);
  if (a.asked.model.find('@') != std::string::npos && a.asked.model != collm::to_string(id))
    return breach(a, law::one_version, "accepted as " + collm::to_string(id));
  const auto node = a.replica.substr(0, a.replica.find('/'));
  const bool here = ends_.node.empty() ? ends_.sites.at(node) == a.site : ends_.node == node;
  if (!here) return breach(a, law::in_its_site, "answered by " + a.replica);
  std::string other;
  if (!a.adapter.empty() && !known->note(id, a.digest, other))
    breach(a, law::one_version,
           collm::to_string(id) + " is " + a.digest + " here and was " + other + " before");
}

void sim_gateway::chunk(account& a, const schema::TokenChunk::Reader& m) {
  if (a.how != ending::open) return breach(a, law::once, "a chunk after its end");
  if (!a.accepted) return breach(a, law::one_version, "tokens before Accepted");
  if (m.getRequest() != a.id) return breach(a, law::once, "a chunk of another request");
  if (m.getSeq() != a.next_seq++)
    return breach(
        a, law::sequence,
        "chunk " + std::to_string(m.getSeq()) + " instead of " + std::to_string(a.next_seq - 1));
  const auto choice = m.getChoice();
  if (choice >= a.tokens.size()) return breach(a, law::sequence, "a choice that nobody asked for");
  const auto digest = a.adapter.empty() ? "base" : a.digest;
  for (const auto token : m.getTokens()) {
    const auto place = a.tokens[choice]++;
    auto right = testing_support::modelled_executor::next_token(digest, prompt_of(a.asked), place,
                                                                a.asked.seed + choice);
    if (in_.breaks(sabotage::foreign_token)) ++right;
    if (token.getId() != static_cast<std::uint32_t>(right))
      return breach(a, law::one_version,
                    "token " + std::to_string(place) + " is not one of " + digest);
  }
}

void sim_gateway::finish(account& a, const schema::Finish::Reader& m) {
  const std::string message = m.getMessage().cStr();
  switch (m.getReason()) {
    case schema::FinishReason::STOP:
    case schema::FinishReason::LENGTH:
      for (const auto n : a.tokens)
        if (n != a.asked.max_tokens)
          breach(a, law::sequence,
                 "it ends whole after " + std::to_string(n) + " of " +
                     std::to_string(a.asked.max_tokens) + " tokens");
      return end(a, ending::answered, "");
    case schema::FinishReason::SLOW_READER:
      return end(a, ending::cut_off, message);
    case schema::FinishReason::CANCELLED:
      if (a.asked.cancel_after.count() == 0) breach(a, law::once, "cancelled by nobody");
      return end(a, ending::cancelled, message);
    default:
      if (message.empty()) breach(a, law::once, "it failed without a reason");
      end(a, ending::failed, message);
  }
}

void sim_gateway::reject(account& a, const schema::Reject::Reader& m) {
  if (a.accepted) return breach(a, law::once, "refused after it was accepted");
  const std::string message = m.getMessage().cStr();
  if (message.empty()) breach(a, law::once, "refused without a reason");
  end(a, ending::refused, std::string(m.getCode().cStr()) + ": " + message);
}

void sim_gateway::end(account& a, ending how, const std::string& reason) {
  if (a.how != ending::open)
    return breach(a, law::once, "it ends again, " + std::string(to_string(how)));
  a.how = how;
  a.reason = reason;
  in_.note("request " + std::to_string(a.serial) + " ends: " + std::string(to_string(how)) +
           (reason.empty() ? "" : ": " + reason));
}

}  // namespace collm::simulation
