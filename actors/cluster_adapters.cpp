#include "actors/cluster_adapters.hpp"

namespace collm::actors {

caf::result<reply<cluster_adapters::record>> cluster_adapters::load(const std::string& name,
                                                                    const std::string& folder) {
  auto promise = self_->make_response_promise<reply<record>>();
  load_at_next(promise, serving_(), name, folder);
  return promise;
}

void cluster_adapters::load_at_next(record_promise promise, std::vector<node_actor> left,
                                    const std::string& name, const std::string& folder) {
  if (left.empty()) {
    promise.deliver(make_reply<record>(error{errc::unavailable, "no node is serving", 2000}));
    return;
  }
  const auto node = left.back();
  left.pop_back();
  self_->request(node, std::chrono::seconds(30), load_atom::value, name, folder)
      .then(
          [this, promise, left, name, folder](const reply<record>& r) mutable {
            if (!*r || left.empty()) {
              promise.deliver(r);
            } else {
              load_at_next(promise, left, name, folder);
            }
          },
          [promise](const caf::error&) mutable {
            promise.deliver(
                make_reply<record>(error{errc::unavailable, "a node left meanwhile", 2000}));
          });
}

caf::result<reply<cluster_adapters::record>> cluster_adapters::unload(const std::string& name) {
  auto promise = self_->make_response_promise<reply<record>>();
  self_->request(registry_, std::chrono::seconds(5), unload_atom::value, name)
      .then(
          [this, promise](const reply<record>& retired) mutable {
            withdraw_from_next(promise, retired, *retired ? serving_() : std::vector<node_actor>());
          },
          [promise](const caf::error&) mutable {
            promise.deliver(make_reply<record>(
                error{errc::unavailable, "the registry did not answer; try again", 2000}));
          });
  return promise;
}

/// The version is retired already: a node that does not answer, or has none, follows by itself.
void cluster_adapters::withdraw_from_next(record_promise promise, const reply<record>& retired,
                                          std::vector<node_actor> left) {
  if (left.empty()) {
    promise.deliver(retired);
    return;
  }
  const auto node = left.back();
  left.pop_back();
  const auto next = [this, promise, retired, left] { withdraw_from_next(promise, retired, left); };
  const auto r = (**retired).read();
  self_
      ->request(node, std::chrono::seconds(30), unload_atom::value,
                version_id{r->getAdapter().cStr(), r->getNumber()})
      .then([next](const reply<void>&) { next(); }, [next](const caf::error&) { next(); });
}

}  // namespace collm::actors
