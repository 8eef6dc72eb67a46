#include "gateway/event_feed.hpp"

#include <algorithm>

#include "gateway/schema_json.hpp"

namespace collm::gateway {

event_feed::event_feed(http_context& context, boost::asio::io_context& io)
    : context_(context), timer_(io) {}

void event_feed::stop() {
  *alive_ = false;
  timer_.cancel();
  subscribers_.clear();
}

void event_feed::forget_gone() {
  std::erase_if(subscribers_, [](const subscriber_ptr& s) { return s->to->over(); });
}

void event_feed::subscribe(const exchange_ptr& to, std::uint32_t after) {
  forget_gone();
  const auto most = context_.options.bounds.event_subscribers_max;
  if (subscribers_.size() >= most) {
    return to->fail(api_error::of(
        {errc::overloaded, "at most " + std::to_string(most) + " event streams are open at once",
         static_cast<std::uint32_t>(context_.options.events_interval.count())}));
  }
  http_response head;
  head.content_type = "text/event-stream; charset=utf-8";
  head.headers.emplace_back("cache-control", "no-cache");
  head.headers.emplace_back("x-accel-buffering", "no");
  to->begin_stream(std::move(head));
  if (to->request.method == "HEAD") return to->end_stream();
  subscribers_.push_back(std::make_shared<subscriber>(subscriber{to, after, 0}));
  if (!running_) schedule();
  poll();
}

void event_feed::schedule() {
  timer_.expires_after(context_.options.events_interval);
  timer_.async_wait([this, alive = alive_](boost::system::error_code ec) {
    if (!ec && *alive) tick();
  });
  running_ = true;
}

void event_feed::tick() {
  forget_gone();
  running_ = false;
  if (subscribers_.empty()) return;
  try {
    schedule();  // first, so that there is a next turn whatever becomes of this one
  } catch (const std::exception&) {
    for (const auto& s : subscribers_) s->to->end_stream();  // they come again, as browsers do
    throw;
  }
  poll();
}

void event_feed::poll() {
  ask_status();
  ask_events();
}

// A runtime that is slow to answer is not asked again meanwhile; one that never answers, only after
// the reply deadline.
bool event_feed::inquiry::begin(std::chrono::milliseconds patience) {
  const auto now = std::chrono::steady_clock::now();
  if (pending && now - since < patience) return false;
  pending = true;
  since = now;
  return true;
}

void event_feed::ask_status() {
  if (!status_asked_.begin(context_.options.timeouts.reply)) return;
  context_.runtime.status([this, gate = context_.gate, alive = alive_](auto m) {
    gate->post([this, alive, m = std::move(m)] {
      if (!*alive) return;
      status_asked_.pending = false;
      send_status(m);
    });
  });
}

void event_feed::ask_events() {
  if (!events_asked_.begin(context_.options.timeouts.reply)) return;
  std::uint32_t after = UINT32_MAX;
  for (const auto& s : subscribers_) after = std::min(after, s->after);
  context_.runtime.events(after, [this, gate = context_.gate, alive = alive_, after](auto list) {
    gate->post([this, alive, after, list = std::move(list)] {
      if (!*alive) return;
      events_asked_.pending = false;
      send_events(after, list);
    });
  });
}

void event_feed::send(const subscriber_ptr& to, std::string frames) {
  to->to->send(std::move(frames), [to] { --to->unwritten; });
  ++to->unwritten;
}

void event_feed::send_status(const msg<schema::ClusterStatus>& status) {
  std::string frame;
  const auto made =
      guard([&] { frame = "event: status\ndata: " + to_json(*status.read()) + "\n\n"; });
  if (!made) return;
  for (const auto& s : subscribers_) {
    if (s->unwritten == 0) s->to->run([&] { send(s, frame); });
  }
}

// One answer serves all subscribers, each from where it stands. A slow one catches up later, or
// finds a gap in seq; one that joined since and stands before `after` gets its own with the next
// turn.
void event_feed::send_events(std::uint32_t after, const std::vector<msg<schema::Event>>& events) {
  for (const auto& s : subscribers_) {
    if (s->unwritten > 1 || s->after < after) continue;
    s->to->run([&] { send_new(s, events); });
  }
}

void event_feed::send_new(const subscriber_ptr& to, const std::vector<msg<schema::Event>>& events) {
  std::string frames;
  for (const auto& m : events) {
    const auto made = guard([&] {
      const auto event = m.read();
      if (event->getSeq() <= to->after) return;
      frames += "event: event\nid: " + std::to_string(event->getSeq()) +
                "\ndata: " + to_json(*event) + "\n\n";
      to->after = event->getSeq();
    });
    if (!made) break;
  }
  if (!frames.empty()) send(to, std::move(frames));
}

}  // namespace collm::gateway
