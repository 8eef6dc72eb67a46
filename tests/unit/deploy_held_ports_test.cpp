#include "deploy/held_ports.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/listener.hpp"

namespace collm::deploy {
namespace {

/// A port that was free a moment ago.
std::uint16_t some_port() {
  const auto socket = gateway::open_listener("127.0.0.1", 0);
  EXPECT_TRUE(socket);
  sockaddr_in at{};
  socklen_t size = sizeof at;
  EXPECT_EQ(0, ::getsockname(*socket, reinterpret_cast<sockaddr*>(&at), &size));
  ::close(*socket);
  return ntohs(at.sin_port);
}

bool connects(std::uint16_t port) {
  const int peer = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool done = ::connect(peer, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
  ::close(peer);
  return done;
}

node_plan node_at(std::uint16_t port) {
  node_plan node;
  node.name = "edge-a";
  node.http = {"127.0.0.1", port};
  return node;
}

TEST(held_ports, let_clients_connect_until_they_are_released) {
  held_ports ports;
  const auto node = node_at(some_port());
  const auto first = ports.hold(node), again = ports.hold(node);
  ASSERT_TRUE(first) << first.failure().message;
  EXPECT_EQ(*first, *again) << "the next process takes over the same queue";
  EXPECT_TRUE(connects(node.http.port));
  ports.release("edge-b");
  EXPECT_TRUE(connects(node.http.port));
  ports.release(node.name);
  EXPECT_FALSE(connects(node.http.port));
  EXPECT_TRUE(ports.hold(node)) << "and may be held again";
  EXPECT_TRUE(connects(node.http.port));
}

TEST(held_ports, are_none_once_the_cluster_stops_and_none_where_any_port_will_do) {
  held_ports ports;
  EXPECT_FALSE(ports.hold(node_at(0))->has_value());
  const auto node = node_at(some_port());
  EXPECT_TRUE(ports.hold(node));
  ports.release_all();
  EXPECT_FALSE(connects(node.http.port));
  const auto late = ports.hold(node);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.failure().code, errc::draining);
}

TEST(held_ports, that_are_taken_are_named) {
  held_ports mine, theirs;
  const auto node = node_at(some_port());
  EXPECT_TRUE(theirs.hold(node));
  const auto taken = mine.hold(node);
  ASSERT_FALSE(taken);
  EXPECT_NE(taken.failure().message.find(std::to_string(node.http.port)), std::string::npos);
}

}  // namespace
}  // namespace collm::deploy
