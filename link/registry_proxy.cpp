#include "link/registry_proxy.hpp"

namespace collm::link {
namespace {

using schema::VersionList;
using schema::VersionRecord;

struct way_to_head {
  std::shared_ptr<inbox> loop;
  std::weak_ptr<registry_calls> calls;
};

template <class T, class Call>
caf::typed_response_promise<actors::reply<T>> fetch(registry_proxy::pointer self,
                                                    const way_to_head& way, Call call) {
  using promise_type = caf::typed_response_promise<actors::reply<T>>;
  promise_type promise = self->make_response_promise<promise_type>();
  auto reply = std::make_shared<owed<T, registry_proxy>>(promise, registry_proxy(self));
  const bool taken = way.loop->post([way, call, reply] {
    if (auto calls = way.calls.lock()) call(*calls, reply);
  });
  if (!taken) reply->answer(error{errc::overloaded, "the link has too much to do; retry", 100});
  return promise;
}

actors::reply<msg<VersionRecord>> not_from_a_node(const char* what) {
  return actors::make_reply<msg<VersionRecord>>(
      error{errc::forbidden, std::string("a node cannot ") + what + " a version; ask the head"});
}

registry_proxy::behavior_type behavior(registry_proxy::pointer self, const way_to_head& way) {
  return {
      [self, way](const msg<schema::Register>& what) {
        return fetch<msg<VersionRecord>>(self, way, [what](registry_calls& to, auto reply) {
          to.record(what, std::move(reply));
        });
      },
      [self, way](actors::list_atom) {
        return fetch<msg<VersionList>>(
            self, way, [](registry_calls& to, auto reply) { to.list(std::move(reply)); });
      },
      [](actors::promote_atom, const version_id&) { return not_from_a_node("promote"); },
      [](actors::rollback_atom, const std::string&) { return not_from_a_node("roll back"); },
      [self, way](actors::unload_atom, const std::string& adapter) {
        return fetch<msg<VersionRecord>>(self, way, [adapter](registry_calls& to, auto reply) {
          to.retire(adapter, std::move(reply));
        });
      },
      [](actors::status_atom) { return make_status("link_registry", "", 0, 0); },
      [](const delivery& what) { (*what)(); },
  };
}

}  // namespace

actors::registry_actor spawn_registry_proxy(caf::actor_system& system, std::shared_ptr<inbox> loop,
                                            std::weak_ptr<registry_calls> calls) {
  return system.spawn(behavior, way_to_head{std::move(loop), std::move(calls)});
}

}  // namespace collm::link
