#include "actors/aggregator.hpp"

#include "actors/round_driver.hpp"

namespace collm::actors {

namespace {

using self_ptr = head_aggregator_actor::stateful_pointer<aggregator_state>;

/// What a handler of remote data answers: its own reply, or why the message cannot be read.
template <class T, class F>
reply<T> guarded(F&& f) {
  auto r = guard(std::forward<F>(f));
  return r ? *r : make_reply<T>(r.failure());
}

}  // namespace

head_aggregator_actor::behavior_type aggregator_behavior(self_ptr self, aggregator_deps deps) {
  watch(self, deps.counts);
  const auto m = metered(self, deps.counts);
  const auto counts = deps.counts;
  const auto slot = deps.slot;
  auto driver = std::make_shared<round_driver>(self, std::move(deps));
  driver->start();
  self->delayed_send(self, slot, slot_atom::value);
  return {
      m([driver](const msg<schema::ShadowState>& state) {
        return guarded<msg<schema::Work>>([&] { return driver->work(state); });
      }),
      m([driver](const msg<schema::UpdateChunk>& chunk) {
        return guarded<msg<schema::UploadPlace>>([&] { return driver->update(*chunk.read()); });
      }),
      m([driver](const msg<schema::Scores>& scores) {
        return guarded<void>([&] { return driver->scores(*scores.read()); });
      }),
      m([driver](const msg<schema::FactorsWanted>& wanted)
            -> caf::result<reply<msg<schema::FactorsChunk>>> {
        auto r = guard([&] { return driver->factors(*wanted.read()); });
        if (!r) return make_reply<msg<schema::FactorsChunk>>(r.failure());
        return std::move(*r);
      }),
      m([counts](status_atom) { return counts->status(); }),
      m([driver](const round_plan& plan) { return driver->open(plan); }),
      m([driver](close_atom, const std::string& who) { return driver->close(who); }),
      m([driver](list_atom) { return driver->list(); }),
      m([driver](explain_atom, const version_id& id) { return driver->explain(id); }),
      m([driver](replay_atom, std::uint32_t round, const std::string& without) {
        return driver->replay(round, without);
      }),
      m([driver](const msg<schema::Snapshot>& s) { driver->traffic(s); }),
      m([self, driver, slot](slot_atom) {
        driver->slot();
        self->delayed_send(self, slot, slot_atom::value);
      }),
  };
}

}  // namespace collm::actors
