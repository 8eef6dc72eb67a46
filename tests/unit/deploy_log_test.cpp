// Texts of others in the log: one line each, of bounded length.
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>

#include "deploy/serving.hpp"

namespace collm::deploy {
namespace {

class log_lines : public testing::Test {
 protected:
  log_lines() : before_(spdlog::default_logger()) {
    auto sink = std::make_shared<spdlog::sinks::ostream_sink_st>(out_);
    sink->set_pattern("%v");
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink));
  }
  ~log_lines() override { spdlog::set_default_logger(before_); }

  std::ostringstream out_;
  const std::shared_ptr<spdlog::logger> before_;
};

TEST_F(log_lines, of_an_event_cannot_be_forged_nor_reach_the_terminal) {
  log_event(msg<schema::Event>::build([](schema::Event::Builder b) {
    b.setNode("edge-c");
    b.setKind("noise\x1b[2J");
    b.setMessage("all well\n2026-11-29 10:00:00.000 error head audit: forged");
  }));
  EXPECT_EQ(out_.str(),
            "edge-c noise?[2J: all well?2026-11-29 10:00:00.000 error head audit: forged\n");
}

TEST_F(log_lines, of_the_link_are_bounded) {
  log_link(schema::EventLevel::WARNING, "\r" + std::string(1u << 20, 'x'), false);
  EXPECT_EQ(out_.str(), "?" + std::string(4095, 'x') + "\n");
}

}  // namespace
}  // namespace collm::deploy
