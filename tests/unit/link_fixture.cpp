#include "tests/unit/link_fixture.hpp"

#include <stdlib.h>

#include <fstream>
#include <iterator>

namespace collm::link::testing {

using namespace collm::actors;
using schema::VersionList;
using schema::VersionRecord;

namespace {

msg<VersionRecord> make_record(const std::string& adapter, std::uint32_t number) {
  return msg<VersionRecord>::build([&](VersionRecord::Builder to) {
    to.setAdapter(adapter.c_str());
    to.setNumber(number);
  });
}

msg<VersionList> make_list(const std::string& adapter) {
  return msg<VersionList>::build(
      [&](VersionList::Builder to) { to.initVersions(1)[0].setAdapter(adapter.c_str()); });
}

msg<schema::ActorStatus> no_status() {
  return msg<schema::ActorStatus>::build([](schema::ActorStatus::Builder) {});
}

using record_reply = reply<msg<VersionRecord>>;
record_reply refuse_record() {
  return make_reply<msg<VersionRecord>>(error{errc::conflict, "not here", 7});
}

}  // namespace

supervisor_actor spawn_supervisor(caf::actor_system& system, board_ptr to) {
  return system.spawn([to](supervisor_actor::pointer) -> supervisor_actor::behavior_type {
    return {
        [to](join_atom, const msg<schema::Hello>& hello, const router_actor& router,
             const node_actor& node) {
          auto view = hello.read();
          to->note([&](board& b) {
            b.joins.push_back({view->getName().cStr(), view->getIncarnation(), router, node});
            b.order.push_back("join " + std::to_string(view->getIncarnation()));
          });
        },
        [to](leave_atom, const std::string& name, std::uint64_t incarnation,
             const std::string& reason) {
          to->note([&](board& b) {
            b.leaves.push_back({name, incarnation, reason, std::chrono::steady_clock::now()});
            b.order.push_back("leave " + std::to_string(incarnation));
          });
        },
        [to](beat_atom, const std::string& name, std::uint64_t, const msg<schema::Snapshot>& last) {
          if (last.read()->getNode() != name.c_str()) return;
          to->note([&](board& b) { ++b.beats[name]; });
        },
        [](const child_exit&) {},
        [](slot_atom) {},
        [](list_atom) {
          return msg<schema::ClusterStatus>::build([](schema::ClusterStatus::Builder) {});
        },
        [](drain_atom, const std::string&, bool, std::uint32_t) { return make_reply<void>({}); },
        [](load_atom, const std::string&, const std::string&) { return refuse_record(); },
        [](unload_atom, const std::string&) { return refuse_record(); },
        [](status_atom) { return no_status(); },
    };
  });
}

registry_actor spawn_registry(caf::actor_system& system, board_ptr to) {
  return system.spawn([to](registry_actor::pointer) -> registry_actor::behavior_type {
    return {
        [](const msg<schema::Register>& what) {
          auto view = what.read();
          if (view->getDigest().size() == 0) return refuse_record();
          return make_reply<msg<VersionRecord>>(make_record(view->getAdapter().cStr(), 5));
        },
        [](list_atom) { return make_reply<msg<VersionList>>(make_list("from-head")); },
        [](promote_atom, const version_id&) { return refuse_record(); },
        [](rollback_atom, const std::string&) { return refuse_record(); },
        [](unload_atom, const std::string& name) {
          return make_reply<msg<VersionRecord>>(make_record(name, 5));
        },
        [](status_atom) { return no_status(); },
    };
  });
}

telemetry_actor spawn_telemetry(caf::actor_system& system, board_ptr to, std::string node) {
  return system.spawn([to, node](telemetry_actor::pointer) -> telemetry_actor::behavior_type {
    return {
        [](const request_began&) {},
        [](const request_outcome&) {},
        [](const replica_report_ptr&) {},
        [](const msg<schema::VersionRecord>&) {},
        [to](const msg<schema::Event>& event) {
          auto view = event.read();
          to->note([&](board& b) {
            b.events.push_back(std::string(view->getNode().cStr()) + ": " +
                               view->getMessage().cStr());
            b.kinds.push_back(view->getKind().cStr());
          });
        },
        [](slot_atom) {},
        [node](list_atom) {
          return msg<schema::Snapshot>::build(
              [&](schema::Snapshot::Builder b) { b.setNode(node.c_str()); });
        },
        [](events_atom, std::uint32_t) { return std::vector<msg<schema::Event>>{}; },
        [](metrics_atom) { return std::string(); },
        [](status_atom) { return no_status(); },
    };
  });
}

aggregator_actor spawn_large(caf::actor_system& system, board_ptr to) {
  return system.spawn([to](aggregator_actor::pointer) -> aggregator_actor::behavior_type {
    const error no{errc::conflict, "not here"};
    return {
        [no](const msg<schema::ShadowState>&) { return make_reply<msg<schema::Work>>(no); },
        [no](const msg<schema::UpdateChunk>&) { return make_reply<msg<schema::UploadPlace>>(no); },
        [no](const msg<schema::Scores>&) { return make_reply<void>(no); },
        [to](const msg<schema::FactorsWanted>& wanted) {
          auto chunk = msg<schema::FactorsChunk>::build(
              [&](schema::FactorsChunk::Builder b) { b.initData(wanted.read()->getCount()); });
          to->note([](board& b) { ++b.chunks_asked; });
          return make_reply<msg<schema::FactorsChunk>>(std::move(chunk));
        },
        [](status_atom) { return no_status(); },
    };
  });
}

router_actor spawn_router(caf::actor_system& system, board_ptr to) {
  return system.spawn([to](router_actor::pointer) -> router_actor::behavior_type {
    return {
        [to](const msg<schema::Request>& request, const sink_actor& sink) {
          to->note([&](board& b) { b.requests.push_back({request, sink}); });
        },
        [to](cancel_atom, request_id id, const sink_actor& sink) {
          to->note([&](board& b) { b.cancels.emplace_back(id, sink); });
        },
        [to](const msg<VersionRecord>& record) {
          to->note([&](board& b) { b.records.push_back(record.read()->getAdapter().cStr()); });
        },
        [](const replica_report_ptr&) {},
        [](list_atom) { return make_list("on-node"); },
        [](drain_atom) {},
        [](status_atom) { return no_status(); },
    };
  });
}

node_actor spawn_node(caf::actor_system& system, board_ptr to) {
  return system.spawn([to](node_actor::pointer) -> node_actor::behavior_type {
    return {
        [to](load_atom, const std::string& name, const std::string& where) {
          to->note([&](board& b) { b.loads.push_back(name + " from " + where); });
          return make_reply<msg<VersionRecord>>(make_record(name, 3));
        },
        [to](unload_atom, const version_id& id) {
          to->note([&](board& b) { b.unloads.push_back(to_string(id)); });
          return make_reply<void>({});
        },
        [to](drain_atom, std::uint32_t) {
          to->note([](board& b) { ++b.drains; });
          return make_reply<void>({});
        },
        [](slot_atom) {},
        [](status_atom) { return no_status(); },
    };
  });
}

sink_actor spawn_sink(caf::actor_system& system, answer_ptr to) {
  return system.spawn([to](sink_actor::pointer) -> sink_actor::behavior_type {
    return {
        [to](const msg<schema::Accepted>& m) {
          auto view = m.read();
          to->note([&](answer& a) {
            ++a.accepted;
            a.replica = view->getReplica().cStr();
          });
        },
        [to](const msg<schema::TokenChunk>& m) {
          auto view = m.read();
          to->note([&](answer& a) { a.texts.push_back(view->getText().cStr()); });
        },
        [to](const msg<schema::Finish>& m) {
          auto view = m.read();
          to->note([&](answer& a) {
            ++a.ends;
            a.finish = view->getReason();
            a.message = view->getMessage().cStr();
            a.completion_tokens = view->getCompletionTokens();
          });
        },
        [to](const msg<schema::Reject>& m) {
          auto view = m.read();
          to->note([&](answer& a) {
            ++a.ends;
            a.reject_code = view->getCode().cStr();
            a.message = view->getMessage().cStr();
            a.retry_after_ms = view->getRetryAfterMs();
          });
        },
    };
  });
}

msg<schema::Request> make_request(request_id id, std::uint32_t tokens) {
  return msg<schema::Request>::build([&](schema::Request::Builder to) {
    to.setId(id);
    to.setModel("assistant");
    to.setMaxTokens(2000);
    auto prompt = to.initPrompt(tokens);
    for (unsigned i = 0; i < tokens; ++i) prompt.set(i, i + 100);
  });
}

msg<schema::Accepted> make_accepted(request_id id) {
  return msg<schema::Accepted>::build([&](schema::Accepted::Builder to) {
    to.setRequest(id);
    to.setReplica("edge-a/0");
    to.setPromptTokens(3);
  });
}

msg<schema::TokenChunk> make_chunk(request_id id, std::uint32_t seq, const std::string& text) {
  return msg<schema::TokenChunk>::build([&](schema::TokenChunk::Builder to) {
    to.setRequest(id);
    to.setSeq(seq);
    to.setText(text.c_str());
    to.initTokens(1)[0].setId(seq);
  });
}

msg<schema::Finish> make_stop(request_id id, std::uint32_t tokens) {
  return msg<schema::Finish>::build([&](schema::Finish::Builder to) {
    to.setRequest(id);
    to.setReason(schema::FinishReason::STOP);
    to.setCompletionTokens(tokens);
  });
}

msg<schema::Hello> make_hello(const std::string& name, std::uint64_t incarnation) {
  return msg<schema::Hello>::build([&](schema::Hello::Builder to) {
    to.setName(name.c_str());
    to.setSite("kitchen");
    to.setIncarnation(incarnation);
    to.setProtocol(protocol_current);
    to.setBaseDigest("base-1");
    to.setTokenizerDigest("words-1");
  });
}

folder::folder()
    : path([] {
        auto pattern = (std::filesystem::temp_directory_path() / "collm-link-XXXXXX").string();
        if (!::mkdtemp(pattern.data())) throw std::runtime_error("no temporary folder: " + pattern);
        return std::filesystem::path(pattern);
      }()) {}

folder::~folder() { std::filesystem::remove_all(path); }

namespace {
const std::filesystem::path& certificates_of(folder& in) {
  auto made = ensure_certificates(
      in.path, "demo", {{"edge-a", "kitchen"}, {"edge-b", "kitchen"}, {"stray", "kitchen"}});
  if (!made) throw std::runtime_error(made.failure().message);
  return in.path;
}
}  // namespace

const std::filesystem::path& demo_certificates() {
  static folder in;
  static const auto& path = certificates_of(in);
  return path;
}

const std::filesystem::path& foreign_certificates() {
  static folder in;
  static const auto& path = certificates_of(in);
  return path;
}

std::shared_ptr<authority> members_of(const std::filesystem::path& folder,
                                      std::map<std::string, planned_member> nodes) {
  auto opened = authority::open(folder, std::move(nodes));
  if (!opened) throw std::runtime_error(opened.failure().message);
  return *opened;
}

cluster_test::cluster_test() : system_(config_) {}

cluster_test::~cluster_test() {
  node_.reset();
  head_.reset();
  board_->clear();
}

server_options cluster_test::head_options() const {
  server_options options;
  options.listen = "127.0.0.1:0";
  options.cluster = "demo";
  options.tls = head_files(demo_certificates());
  options.members =
      members_of(demo_certificates(), {{"edge-a", {"kitchen"}}, {"edge-b", {"kitchen"}}});
  options.nodes = {{"edge-a", {"kitchen", 2}}, {"edge-b", {"kitchen"}}};
  options.base_digest = "base-1";
  options.tokenizer_digest = "words-1";
  options.beat = std::chrono::milliseconds(50);
  options.lost_after = std::chrono::milliseconds(2000);
  options.accept_timeout = std::chrono::milliseconds(1000);
  options.unread_for_max = unread_for_max_;
  options.log = [to = board_](schema::EventLevel, const std::string& line) {
    to->note([&](board& b) { b.log.push_back(line); });
  };
  return options;
}

void cluster_test::start_head(const std::string& listen) {
  auto options = head_options();
  options.listen = listen;
  auto made =
      link_server::start(head_loop_, system_, std::move(options),
                         {spawn_supervisor(system_, board_), spawn_registry(system_, board_),
                          spawn_telemetry(system_, board_, "head"), aggregators_, coordinator_});
  ASSERT_TRUE(made) << made.failure().message;
  head_ = std::move(*made);
  port_ = head_->port();
}

client_options cluster_test::node_options(const std::string& name,
                                          std::uint64_t incarnation) const {
  client_options options;
  options.head = "127.0.0.1:" + std::to_string(port_);
  options.cluster = "demo";
  options.tls = node_files(demo_certificates(), name);
  options.hello = make_hello(name, incarnation);
  options.back_off_min = std::chrono::milliseconds(20);
  options.back_off_max = std::chrono::milliseconds(100);
  options.log = [to = board_](schema::EventLevel, const std::string& line) {
    to->note([&](board& b) { b.log.push_back(line); });
  };
  return options;
}

client_actors cluster_test::node_actors(const std::string& name) {
  return {spawn_router(system_, board_), spawn_node(system_, board_),
          spawn_telemetry(system_, board_, name)};
}

std::unique_ptr<link_client> cluster_test::make_client(client_options options) {
  auto made = link_client::create(node_loop_, system_, std::move(options));
  if (!made) throw std::runtime_error(made.failure().message);
  return std::move(*made);
}

std::unique_ptr<link_client> cluster_test::start_node(const std::string& name,
                                                      std::uint64_t incarnation) {
  auto client = make_client(node_options(name, incarnation));
  client->serve(node_actors(name));
  return client;
}

void raw_peer::connect(std::uint16_t port) {
  auto address = wait(io_->provider->getNetwork().parseAddress("127.0.0.1", port));
  stream_ = wait(address->connect());
}

void raw_peer::connect_tls(std::uint16_t port, const tls_files* files, const std::string& trust) {
  const auto text = [](const std::filesystem::path& file) {
    std::ifstream in(file);
    return kj::heapString(std::string(std::istreambuf_iterator<char>(in), {}).c_str());
  };
  const kj::TlsCertificate trusted[] = {kj::TlsCertificate(text(trust))};
  kj::TlsContext::Options options;
  options.useSystemTrustStore = false;
  options.trustedCertificates = trusted;
  kj::Maybe<kj::TlsKeypair> own;
  if (files) {
    own = kj::TlsKeypair{kj::TlsPrivateKey(text(files->key)),
                         kj::TlsCertificate(text(files->certificate))};
  }
  KJ_IF_MAYBE (pair, own) options.defaultKeypair = *pair;
  tls_ = kj::heap<kj::TlsContext>(options);
  connect(port);
  stream_ = wait(tls_->wrapClient(kj::mv(stream_), "head.demo"));
}

void raw_peer::speak() {
  rpc_ = kj::heap<connection>(kj::mv(stream_), capnp::rpc::twoparty::Side::CLIENT, nullptr,
                              limits{}, quota{4096, 4}, timer());
}

std::string raw_peer::failure(kj::Promise<void>&& promise) {
  try {
    wait(kj::mv(promise));
    return {};
  } catch (const kj::Exception& e) {
    return e.getDescription().cStr();
  }
}

bool raw_peer::closed() {
  if (rpc_) return failure(rpc_->on_disconnect()).empty();
  char bytes[256];
  for (;;) {
    try {
      if (wait(stream_->tryRead(bytes, 1, sizeof bytes)) == 0) return true;
    } catch (const kj::Exception& e) {
      return e.getType() != kj::Exception::Type::OVERLOADED;  // not our own deadline
    }
  }
}

void raw_peer::drop() {
  rpc_ = nullptr;
  stream_ = nullptr;
}

}  // namespace collm::link::testing
