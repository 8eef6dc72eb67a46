// A node elsewhere joins with a token, over real TLS on loopback; and what keeps others out.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>

#include "link/enrolment.hpp"
#include "link/enrolment_server.hpp"
#include "link/renewal.hpp"
#include "link/x509.hpp"
#include "messages/enrolment.capnp.h"
#include "tests/unit/link_fixture.hpp"

namespace collm::link::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

template <class T>
std::string failure(const result<T>& r) {
  return r ? "" : r.failure().message;
}

std::string read(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

/// A head that starts edge-a itself and lets edge-c of site yard join.
class link_enrolment : public cluster_test {
 protected:
  link_enrolment() {
    auto made = ensure_certificates(in_.path, "demo", {{"edge-a", "kitchen"}});
    if (!made) throw std::runtime_error(made.failure().message);
    restart_head();
  }
  ~link_enrolment() override {  // what they use goes first otherwise
    node_.reset();
    head_.reset();
  }
  /// `node_life_s`: of the certificates that it signs; 0: a year.
  void restart_head(long node_life_s = 0, const std::string& site = "yard") {
    head_.reset();
    auto options = head_options();
    options.tls = head_files(in_.path);
    options.nodes = {{"edge-a", {"kitchen"}}, {"edge-c", {site, 1, {"farmer"}}}};
    auto opened = authority::open(
        in_.path, {{"edge-a", {"kitchen"}}, {"edge-c", {site, true}}},
        [this] { return now_.load(); }, node_life_s);
    ASSERT_TRUE(opened) << opened.failure().message;
    options.members = *opened;
    options.enrolment.listen = "127.0.0.1:0";
    options.enrolment.host = "127.0.0.1";
    options.enrolment.manifest = [](const std::string& node) {
      return result<std::string>("manifest of " + node);
    };
    options.enrolment.refusal_delay = std::chrono::milliseconds(1);
    start(std::move(options));
  }
  void start(server_options options) {
    auto made =
        link_server::start(head_loop_, system_, std::move(options),
                           {spawn_supervisor(system_, board_), spawn_registry(system_, board_),
                            spawn_telemetry(system_, board_, "head"), aggregators_, coordinator_});
    ASSERT_TRUE(made) << made.failure().message;
    head_ = std::move(*made);
    port_ = head_->port();
  }

  result<std::string> token(const std::string& node = "edge-c", std::uint32_t lives_s = 600) {
    std::promise<result<std::string>> got;
    head_->join_token(node, lives_s, [&](auto text) { got.set_value(std::move(text)); });
    return got.get_future().get();
  }
  result<void> revoke(const std::string& node) {
    std::promise<result<void>> got;
    head_->revoke(node, [&](auto done) { got.set_value(std::move(done)); });
    return got.get_future().get();
  }
  result<enrolment> enrol_with(const result<std::string>& text, const std::string& folder = "one") {
    if (!text) return text.failure();
    auto parsed = parse_token(*text);
    if (!parsed) return parsed.failure();
    return enrol(*parsed, node_folder(folder));
  }
  std::filesystem::path node_folder(const std::string& name) const { return node_in_.path / name; }
  /// A client that joins as edge-c with what lies in that folder.
  std::unique_ptr<link_client> start_joined(const std::string& folder,
                                            std::uint64_t incarnation = 1) {
    auto options = node_options("edge-a", incarnation);
    options.tls = node_files(node_folder(folder), "edge-c");
    options.hello = hello_of("yard", incarnation);
    auto client = make_client(std::move(options));
    client->serve(node_actors("edge-c"));
    return client;
  }
  std::string failure_of_join(const tls_files& files, std::uint64_t incarnation) const {
    raw_peer peer;
    peer.connect_tls(port_, &files, files.authority);
    peer.speak();
    auto call = peer.peer<schema::Head>().joinRequest();
    call.setHello(*hello_of("yard", incarnation).read());
    return peer.failure(call.send().ignoreResult());
  }
  static msg<schema::Hello> hello_of(const std::string& site, std::uint64_t incarnation) {
    return msg<schema::Hello>::build([&](schema::Hello::Builder to) {
      to.setName("edge-c");
      to.setSite(site);
      to.setIncarnation(incarnation);
      to.setProtocol(protocol_current);
      to.setBaseDigest("base-1");
      to.setTokenizerDigest("words-1");
    });
  }

  folder in_, node_in_;
  std::atomic<std::int64_t> now_{1'000'000};
};

TEST_F(link_enrolment, makes_a_node_that_joins_by_mutual_tls) {
  const auto joined = enrol_with(token());
  ASSERT_EQ(failure(joined), "");
  EXPECT_EQ(joined->node, "edge-c");
  EXPECT_EQ(joined->site, "yard");
  EXPECT_EQ(joined->cluster, "demo");
  EXPECT_EQ(joined->manifest, "manifest of edge-c");
  EXPECT_EQ(joined->link, "127.0.0.1:" + std::to_string(port_));
  node_ = start_joined("one");
  EXPECT_EQ(board_->join(0).name, "edge-c");
}

TEST_F(link_enrolment, leaves_the_key_at_the_node_and_only_there) {
  ASSERT_EQ(failure(enrol_with(token())), "");
  const auto key = node_files(node_folder("one"), "edge-c").key;
  struct stat about {};
  ASSERT_EQ(::stat(key.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
  ASSERT_EQ(::stat(node_folder("one").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 077, 0u);
  for (const auto& file : std::filesystem::recursive_directory_iterator(in_.path)) {
    if (!file.is_regular_file()) continue;
    EXPECT_NE(read(file.path()), read(key)) << file.path();
  }
}

TEST_F(link_enrolment, takes_a_token_once) {
  const auto text = token();
  ASSERT_EQ(failure(enrol_with(text)), "");
  EXPECT_THAT(failure(enrol_with(text, "two")),
              HasSubstr("this join token of node 'edge-c' was used already"));
  EXPECT_TRUE(board_->wait_log("was used already"));
  const auto secret = text->substr(text->size() - 64);
  for (const auto& line : board_->look([](const board& b) { return b.log; }))
    EXPECT_THAT(line, Not(HasSubstr(secret)));
}

TEST_F(link_enrolment, refuses_a_token_that_is_over) {
  const auto text = token("edge-c", 600);
  now_ += 601;
  EXPECT_THAT(failure(enrol_with(text)), HasSubstr("expired 1 s ago"));
}

TEST_F(link_enrolment, refuses_a_token_from_before_the_heads_restart) {
  const auto text = token();
  ASSERT_TRUE(text);
  restart_head();
  auto moved = parse_token(*text);
  moved->address = "127.0.0.1:" + std::to_string(head_->enrolment_port());
  EXPECT_THAT(failure(enrol(*moved, node_folder("one"))),
              HasSubstr("this head does not know this join token"));
}

TEST_F(link_enrolment, refuses_a_secret_that_was_guessed) {
  auto guessed = parse_token(*token());
  guessed->secret = std::string(64, '7');
  EXPECT_THAT(failure(enrol(*guessed, node_folder("one"))), HasSubstr("does not know"));
  EXPECT_FALSE(std::filesystem::exists(node_files(node_folder("one"), "edge-c").key));
}

TEST_F(link_enrolment, says_nothing_to_a_head_of_another_cluster) {
  auto foreign = parse_token(*token());
  foreign->authority = std::string(64, 'a');
  EXPECT_THAT(failure(enrol(*foreign, node_folder("one"))),
              HasSubstr("is not of the cluster that made this token"));
  EXPECT_EQ(failure(enrol_with(token())), "") << "no token was used up";
}

TEST_F(link_enrolment, is_not_fooled_by_a_node_that_poses_as_the_head) {
  ASSERT_EQ(failure(enrol_with(token())), "");
  enrolment_options posing;
  posing.listen = "127.0.0.1:0";
  posing.tls = node_files(node_folder("one"), "edge-c");  // of the same authority
  std::atomic<int> heard{0};
  posing.enrol = [&](schema::Enrol::Reader) -> result<msg<schema::Enrolled>> {
    ++heard;
    return error{errc::internal, "never"};
  };
  posing.refused = [](const std::string&) {};
  auto thief = head_loop_.call([&] { return enrolment_server::start(head_loop_, posing); });
  ASSERT_TRUE(thief) << thief.failure().message;
  auto next = parse_token(*token());
  next->address = "127.0.0.1:" + std::to_string((*thief)->port());
  EXPECT_THAT(failure(enrol(*next, node_folder("two"))), HasSubstr("is not the head"));
  EXPECT_EQ(heard, 0);
  head_loop_.call([&] { thief->reset(); });
}

TEST_F(link_enrolment, gives_tokens_for_remote_nodes_of_the_manifest_only) {
  EXPECT_THAT(failure(token("edge-x")), HasSubstr("the manifest has no node 'edge-x'"));
  EXPECT_THAT(failure(token("edge-a")), HasSubstr("is started by this head"));
  EXPECT_THAT(failure(token("edge-c", 0)), HasSubstr("lives from 1 s to 24 h"));
}

TEST_F(link_enrolment, pins_the_certificate_to_name_and_site) {
  ASSERT_EQ(failure(enrol_with(token())), "");
  const auto files = node_files(node_folder("one"), "edge-c");
  const auto said = [&](msg<schema::Hello> hello) {
    raw_peer peer;
    peer.connect_tls(port_, &files, files.authority);
    peer.speak();
    auto call = peer.peer<schema::Head>().joinRequest();
    call.setHello(*hello.read());
    return peer.failure(call.send().ignoreResult());
  };
  EXPECT_THAT(
      said(make_hello("edge-a")),
      HasSubstr("the certificate is for \"edge-c.node\" and cannot join as node \"edge-a\""));
  EXPECT_THAT(said(hello_of("kitchen", 1)), HasSubstr("site of node edge-c is \"kitchen\""));
  EXPECT_EQ(said(hello_of("yard", 1)), "");
  restart_head(0, "barn");  // the manifest moves it
  EXPECT_THAT(said(hello_of("barn", 2)),
              HasSubstr("is of site 'yard', the manifest says 'barn'; it can join again"));
}

// -- revocation

TEST_F(link_enrolment, revocation_ends_an_open_connection_and_later_ones) {
  ASSERT_EQ(failure(enrol_with(token())), "");
  node_ = start_joined("one");
  board_->join(0);
  ASSERT_EQ(failure(revoke("edge-c")), "");
  ASSERT_TRUE(board_->wait([](const board& b) { return !b.leaves.empty(); }));
  EXPECT_EQ(board_->look([](const board& b) { return b.leaves[0].reason; }),
            "its certificate was revoked");
  EXPECT_TRUE(board_->wait_log("the certificate of node 'edge-c' was revoked"));
  EXPECT_FALSE(node_->connected());
  EXPECT_EQ(board_->look([](const board& b) { return b.joins.size(); }), 1u);
}

// Whoever stole the folder numbers himself as high as he may, so that the node he stole from would
// be older for ever.
TEST_F(link_enrolment, what_a_thief_joined_with_keeps_nobody_out_who_joins_anew) {
  const auto hour_ahead = static_cast<std::uint64_t>(now_ + 3600) << 16;
  ASSERT_EQ(failure(enrol_with(token())), "");
  const auto stolen = node_files(node_folder("one"), "edge-c");
  EXPECT_THAT(failure_of_join(stolen, hour_ahead + 1), HasSubstr("ahead of this head's clock"));
  EXPECT_THAT(failure_of_join(stolen, ~std::uint64_t{0}), HasSubstr("ahead of this head's clock"));
  EXPECT_EQ(failure_of_join(stolen, hour_ahead), "");
  EXPECT_THAT(failure_of_join(stolen, 7), HasSubstr("incarnation 7 of node edge-c is older"));
  ASSERT_EQ(failure(revoke("edge-c")), "");
  ASSERT_EQ(failure(enrol_with(token(), "two")), "");
  const auto own = node_files(node_folder("two"), "edge-c");
  EXPECT_EQ(failure_of_join(own, 7), "");
  EXPECT_EQ(failure_of_join(own, hour_ahead), "");
  ASSERT_EQ(failure(enrol_with(token(), "three")), "") << "a new token alone is enough, too";
  EXPECT_EQ(failure_of_join(node_files(node_folder("three"), "edge-c"), 7), "");
}

TEST_F(link_enrolment, revocation_outlives_the_heads_restart) {
  ASSERT_EQ(failure(enrol_with(token())), "");
  ASSERT_EQ(failure(revoke("edge-c")), "");
  restart_head();
  node_ = start_joined("one");
  EXPECT_TRUE(board_->wait_log("the certificate of node 'edge-c' was revoked"));
  EXPECT_TRUE(board_->look([](const board& b) { return b.joins.empty(); }));
}

TEST_F(link_enrolment, a_revoked_node_joins_again_with_a_new_token_and_its_old_key_does_not) {
  ASSERT_EQ(failure(enrol_with(token())), "");
  ASSERT_EQ(failure(revoke("edge-c")), "");
  ASSERT_EQ(failure(enrol_with(token(), "two")), "");
  node_ = start_joined("two", 5);
  board_->join(0);
  auto stolen = start_joined("one", 6);
  EXPECT_TRUE(board_->wait_log("is not one that this head accepts"));
  EXPECT_FALSE(stolen->connected());
  EXPECT_EQ(board_->look([](const board& b) { return b.joins.size(); }), 1u);
}

TEST_F(link_enrolment, revocation_of_the_heads_own_nodes_is_refused_by_name) {
  EXPECT_THAT(failure(revoke("edge-a")), HasSubstr("is started by this head, which holds its key"));
  EXPECT_THAT(failure(revoke("edge-x")), HasSubstr("no certificate of a node 'edge-x'"));
}

TEST_F(link_enrolment, refuses_to_start_over_a_damaged_list) {
  head_.reset();
  std::ofstream(in_.path / "nodes.txt", std::ios::trunc) << "edge-c yard\n";
  const auto opened = authority::open(in_.path, {{"edge-c", {"yard", true}}});
  EXPECT_THAT(failure(opened), HasSubstr("nodes.txt: line 1 is damaged"));
}

// -- jobs

/// Two jobs, one of the yard and one of the kitchen; any may be cancelled.
actors::coordinator_actor spawn_jobs(caf::actor_system& system) {
  using namespace actors;
  return system.spawn([](coordinator_actor::pointer) -> coordinator_actor::behavior_type {
    const auto job = [](schema::Job::Builder to, const std::string& site) {
      to.setId("ftjob-" + site);
      to.setSite(site);
      to.setOwner("of " + site);
    };
    return {
        [job](const msg<schema::JobRequest>&) {
          return make_reply<msg<schema::Job>>(
              msg<schema::Job>::build([&](schema::Job::Builder to) { job(to, "yard"); }));
        },
        [job](list_atom) {
          return make_reply<msg<schema::JobList>>(
              msg<schema::JobList>::build([&](schema::JobList::Builder to) {
                auto jobs = to.initJobs(2);
                job(jobs[0], "kitchen");
                job(jobs[1], "yard");
              }));
        },
        [job](cancel_atom, const std::string& id) {
          return make_reply<msg<schema::Job>>(msg<schema::Job>::build(
              [&](schema::Job::Builder to) { job(to, id.substr(id.find('-') + 1)); }));
        },
        [](status_atom) {
          return msg<schema::ActorStatus>::build([](schema::ActorStatus::Builder) {});
        },
    };
  });
}

TEST_F(link_enrolment, shows_a_node_elsewhere_the_jobs_of_its_own_site_only) {
  coordinator_ = spawn_jobs(system_);
  restart_head();
  ASSERT_EQ(failure(enrol_with(token())), "");
  const auto files = node_files(node_folder("one"), "edge-c");
  raw_peer peer;
  peer.connect_tls(port_, &files, files.authority);
  peer.speak();
  auto join = peer.peer<schema::Head>().joinRequest();
  join.setHello(*hello_of("yard", 1).read());
  auto session = peer.wait(join.send()).getSession();
  const auto list = peer.wait(session.jobsRequest().send());
  const auto jobs = list.getResult().getList().getJobs();
  ASSERT_EQ(jobs.size(), 1u);
  EXPECT_STREQ(jobs[0].getId().cStr(), "ftjob-yard");
  const auto cancel = [&](const char* id) {
    auto call = session.cancelJobRequest();
    call.setId(id);
    return peer.wait(call.send());
  };
  EXPECT_STREQ(cancel("ftjob-yard").getResult().getJob().getSite().cStr(), "yard");
  EXPECT_THAT(cancel("ftjob-kitchen").getResult().getFailure().getMessage().cStr(),
              HasSubstr("site \"yard\" has no job \"ftjob-kitchen\""));
  const auto create = [&](const char* owner) {
    auto call = session.createJobRequest();
    call.initRequest().setSite("yard");
    call.getRequest().setOwner(owner);
    return peer.wait(call.send());
  };
  EXPECT_TRUE(create("farmer").getResult().isJob());
  EXPECT_TRUE(create("").getResult().isJob());
  EXPECT_THAT(create("cook").getResult().getFailure().getMessage().cStr(),
              HasSubstr("cannot ask for tenant \"cook\""));
}

// -- rotation

class link_rotation : public link_enrolment {
 protected:
  link_rotation() {
    EXPECT_EQ(failure(enrol_with(token())), "");
    std::filesystem::copy(node_folder("one"), node_folder("before"));
  }
  result<void> rotate(const std::string& node = "edge-c") {
    std::promise<result<void>> got;
    head_->rotate(node, [&](auto done) { got.set_value(std::move(done)); });
    return got.get_future().get();
  }
  std::string id_in(const std::string& folder) const {
    return *certificate_id(node_files(node_folder(folder), "edge-c").certificate);
  }
  /// By hand, so that what is asked next is the test's own.
  schema::Session::Client join_with(raw_peer& peer, const tls_files& files) {
    peer.connect_tls(port_, &files, files.authority);
    peer.speak();
    auto join = peer.peer<schema::Head>().joinRequest();
    join.setHello(*hello_of("yard", 1).read());
    return peer.wait(join.send()).getSession();
  }
  /// One renewal of that request.
  static auto renew(raw_peer& peer, schema::Session::Client& session, const renewal& next) {
    auto call = session.renewRequest();
    call.setRequest(
        {reinterpret_cast<const kj::byte*>(next.request().data()), next.request().size()});
    return peer.wait(call.send());
  }
};

TEST_F(link_rotation, renews_on_a_live_connection_that_goes_on) {
  node_ = start_joined("one");
  board_->join(0);
  ASSERT_TRUE(board_->wait([](const board& b) { return b.beats.contains("edge-c"); }));
  ASSERT_EQ(failure(rotate()), "");
  EXPECT_NE(id_in("one"), id_in("before"));
  EXPECT_NE(read(node_files(node_folder("one"), "edge-c").key),
            read(node_files(node_folder("before"), "edge-c").key));
  const auto beats = board_->look([](const board& b) { return b.beats.at("edge-c"); });
  EXPECT_TRUE(board_->wait([&](const board& b) { return b.beats.at("edge-c") > beats + 1; }));
  EXPECT_TRUE(board_->look([](const board& b) { return b.leaves.empty() && b.joins.size() == 1; }));
  head_->disconnect("edge-c", "test");  // the next connection shows the new one
  board_->join(1);
}

TEST_F(link_rotation, ends_the_old_certificate_ten_minutes_after_the_node_has_stored_the_new_one) {
  node_ = start_joined("one", 1);
  board_->join(0);
  ASSERT_EQ(failure(rotate()), "");
  now_ += authority::grace_s - 1;
  auto early = start_joined("before", 2);
  board_->join(1);
  early.reset();
  now_ += 1;
  auto late = start_joined("before", 3);
  EXPECT_TRUE(board_->wait_log("was replaced by a newer one and is not accepted any more"));
  EXPECT_FALSE(late->connected());
  late.reset();
  node_.reset();
  node_ = start_joined("one", 4);
  board_->join(2);
}

TEST_F(link_rotation, happens_by_itself_in_the_last_third_of_a_certificates_life) {
  restart_head(600);  // and an hour before: clocks differ a little
  ASSERT_EQ(failure(enrol_with(token())), "");
  const auto short_lived = id_in("one");
  restart_head();
  node_ = start_joined("one");
  EXPECT_TRUE(board_->wait_log("has a new certificate"));
  EXPECT_NE(id_in("one"), short_lived);
  EXPECT_FALSE(*needs_renewal(node_files(node_folder("one"), "edge-c")));
}

TEST_F(link_rotation, leaves_the_old_certificate_alone_until_the_node_has_the_new_one) {
  const auto files = node_files(node_folder("one"), "edge-c");
  raw_peer peer;
  auto session = join_with(peer, files);
  auto next = *renewal::begin(files);
  ASSERT_TRUE(renew(peer, session, *next).getResult().isCertificate());
  peer.drop();  // before it stored anything
  now_ += 10 * authority::grace_s;
  node_ = start_joined("one", 2);
  board_->join(1);
}

TEST_F(link_rotation, is_refused_when_asked_for_again_and_again) {
  const auto files = node_files(node_folder("one"), "edge-c");
  raw_peer peer;
  auto session = join_with(peer, files);
  auto next = *renewal::begin(files);
  std::uint32_t signed_ones = 0;
  std::string last;
  for (int i = 0; i < 12; ++i) {
    auto answer = renew(peer, session, *next);
    if (answer.getResult().isCertificate())
      ++signed_ones;
    else
      last = answer.getResult().getFailure().getMessage().cStr();
  }
  EXPECT_EQ(signed_ones, 4u);
  EXPECT_THAT(last, HasSubstr("renews its certificate too often"));
}

TEST_F(link_rotation, of_a_node_that_is_away_is_refused_by_name) {
  EXPECT_THAT(failure(rotate()), HasSubstr("node 'edge-c' is not connected"));
}

// -- the port

/// The head's words to whoever sends these bytes over TLS without a certificate.
class enrolment_port : public link_enrolment {
 protected:
  std::string sent(std::string_view bytes) {
    raw_peer peer;
    peer.connect_tls(head_->enrolment_port(), nullptr, head_files(in_.path).authority);
    EXPECT_EQ(peer.failure(peer.stream().write(bytes.data(), bytes.size())), "");
    std::string reply(4096, '\0');
    try {
      reply.resize(peer.wait(peer.stream().tryRead(reply.data(), reply.size(), reply.size())));
    } catch (const kj::Exception&) {
      return "";
    }
    return reply;
  }
};

TEST_F(enrolment_port, refuses_large_and_broken_messages_and_goes_on) {
  const std::string four_gib("\0\0\0\0\xff\xff\xff\x1f", 8);  // one segment of 4 GiB
  EXPECT_EQ(sent(four_gib), "");
  const std::string many_segments("\xff\xff\xff\xff\0\0\0\0", 8);
  EXPECT_EQ(sent(many_segments), "");
  EXPECT_EQ(sent(std::string(enrolment_server::request_bytes_max + 64, '\1')), "");
  EXPECT_EQ(failure(enrol_with(token())), "");
}

TEST_F(enrolment_port, refuses_a_request_that_no_key_signed) {
  const auto secret = x509::from_hex(parse_token(*token())->secret);
  const auto ask = [&](std::string_view request) {
    const auto message = msg<schema::Enrol>::build([&](schema::Enrol::Builder to) {
      to.setSecret({reinterpret_cast<const kj::byte*>(secret->data()), secret->size()});
      to.setRequest({reinterpret_cast<const kj::byte*>(request.data()), request.size()});
    });
    const auto bytes = message.bytes();
    return sent({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  };
  auto key = x509::make_key();
  auto request = *x509::make_request(key->get());
  EXPECT_THAT(ask("hello"), HasSubstr("cannot be read"));
  EXPECT_THAT(ask(request + "x"), HasSubstr("cannot be read"));
  request.back() = static_cast<char>(request.back() ^ 1);
  EXPECT_THAT(ask(request), HasSubstr("certificate signing request"));
  EXPECT_THAT(ask(*x509::make_request(key->get())), HasSubstr("BEGIN CERTIFICATE"))
      << "the token was not used up by what was refused";
}

TEST_F(enrolment_port, serves_nothing_of_the_link) {
  raw_peer peer;
  peer.connect_tls(head_->enrolment_port(), nullptr, head_files(in_.path).authority);
  peer.speak();
  auto call = peer.peer<schema::Head>().joinRequest();
  call.setHello(*hello_of("yard", 1).read());
  EXPECT_NE(peer.failure(call.send().ignoreResult()), "");
}

TEST_F(enrolment_port, serves_few_at_once_and_who_waits_is_hung_up_on) {
  raw_peer further;
  std::vector<std::unique_ptr<raw_peer>> idle;
  for (std::size_t i = 0; i < enrolment_server::connections_max; ++i) {
    idle.push_back(std::make_unique<raw_peer>(further));
    idle.back()->connect(head_->enrolment_port());
  }
  further.connect(head_->enrolment_port());
  EXPECT_TRUE(further.closed());
  for (auto& peer : idle) EXPECT_TRUE(peer->closed()) << "the handshake has its time";
  EXPECT_EQ(failure(enrol_with(token())), "");
}

}  // namespace
}  // namespace collm::link::testing
