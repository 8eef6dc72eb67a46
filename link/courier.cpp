#include "link/courier.hpp"

namespace collm::link {

caf::actor spawn_courier(caf::actor_system& system) {
  return system.spawn([](caf::event_based_actor* self) -> caf::behavior {
    return {[self](const errand& what) { (*what)(self); }};
  });
}

msg<schema::ActorStatus> make_status(const char* name, const std::string& id, double processed,
                                     std::uint32_t failures) {
  return msg<schema::ActorStatus>::build([&](schema::ActorStatus::Builder to) {
    to.setName(name);
    to.setId(id.c_str());
    to.setProcessed(processed);
    to.setFailures(failures);
  });
}

}  // namespace collm::link
