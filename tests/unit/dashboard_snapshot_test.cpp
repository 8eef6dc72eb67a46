// The golden snapshot that the page's TypeScript tests read is what our codec writes, and it leaves
// no field of the schema out. After a change of the schema: COLLM_WRITE_GOLDEN=1 on this test.
#include <capnp/dynamic.h>
#include <capnp/schema.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "gateway/schema_json.hpp"
#include "messages/msg.hpp"

namespace collm {
namespace {

constexpr double mib = 1024.0 * 1024.0;
const std::string golden_file = COLLM_SOURCE_DIR "/tests/browser/data/status.json";

struct actor_row {
  const char* name;
  const char* id;
  std::uint32_t mailbox;
  float busy;
  double processed;
  float slowest_ms;
};

void fill_actor(schema::ActorStatus::Builder b, const actor_row& row) {
  b.setName(row.name);
  b.setId(row.id);
  b.setMailbox(row.mailbox);
  b.setBusyShare(row.busy);
  b.setProcessed(row.processed);
  b.setSlowestMs(row.slowest_ms);
}

void fill_replica(schema::ReplicaStatus::Builder b, const std::string& name) {
  b.setName(name);
  b.setQueued(3);
  b.setRunning(11);
  b.setKvBlocksFree(1204);
  b.setKvBlocksTotal(2048);
  b.setTokensPerSecond(143.25F);
  b.setPromptTokensPerSecond(612.5F);
  b.setPrefixHitShare(0.625F);
  b.setStepMs(71.5F);
  b.setHeartbeatAgeMs(12);
  b.setPreemptions(2);
  b.setTrainingShare(0.75F);
  b.setTrainingTokensPerSecond(318.5F);
  b.setUnitMs(412.5F);
}

void fill_resident(schema::ResidentVersion::Builder b, std::uint32_t number, std::uint32_t pins,
                   schema::VersionState state) {
  b.setAdapter("assistant");
  b.setNumber(number);
  b.setState(state);
  b.setPins(pins);
  b.setBytes(4.6 * mib);
  b.setDigest(number == 1 ? "a1b2c3d4e5f60718293a4b5c6d7e8f90"
                          : "5f0e1d2c3b4a59687786950413223140");
}

void fill_entry(schema::LedgerEntry::Builder b, const char* name, double bytes, double budget,
                bool shared = false) {
  b.setName(name);
  b.setBytes(bytes);
  b.setBudget(budget);
  b.setShared(shared);
}

void fill_requests(schema::RequestCounts::Builder b) {
  b.setArrived(12361);
  b.setAnswered(12345);
  b.setRefused(2);
  b.setFailed(1);
  b.setCancelled(2);
  b.setInFlight(11);
}

void fill_traffic(schema::VersionTraffic::Builder b) {
  b.setAdapter("assistant");
  b.setNumber(2);
  b.setAnswers(12345);
  b.setBad(31);
  b.setNotFinite(1);
  b.setRequestsPerSecond(1.5F);
  b.setOpen(10);
  b.setLate(2);
  b.setSite("workshop");
}

void fill_actors(schema::Snapshot::Builder b, const std::string& replica) {
  const actor_row rows[] = {{"node", "", 0, 0.001F, 812, 0.25F},
                            {"router", "", 0, 0.0125F, 24690, 1.5F},
                            {"replica", replica.c_str(), 1, 0.03125F, 52110, 2.25F},
                            {"engine", replica.c_str(), 4, 0.96875F, 1234567, 78.5F},
                            {"telemetry", "", 0, 0.004F, 61007, 0.75F}};
  auto out = b.initActors(std::size(rows));
  for (unsigned i = 0; i < std::size(rows); ++i) fill_actor(out[i], rows[i]);
  out[3].setRestarts(1);
  out[3].setFailures(2);
  out[4].setUnexpected(1);
}

void fill_process(schema::Snapshot::Builder b, const char* node, const char* site,
                  std::uint32_t pid) {
  b.setNode(node);
  b.setSite(site);
  b.setPid(pid);
  b.setUptimeMs(754'000);
  b.setKernelPath("avx512-vnni");
  b.setResidentBytes(702 * mib);
  b.setSloAttainment(1);
}

void fill_snapshot(schema::Snapshot::Builder b, const std::string& node, const char* site,
                   std::uint32_t pid) {
  fill_process(b, node.c_str(), site, pid);
  b.setHttpAddress("127.0.0.1:8081");
  fill_actors(b, node + "/0");
  fill_replica(b.initReplicas(1)[0], node + "/0");
  auto versions = b.initVersions(2);
  fill_resident(versions[0], 1, 1, schema::VersionState::DRAINING);
  fill_resident(versions[1], 2, 10, schema::VersionState::SERVING);
  auto ledger = b.initLedger(4);
  fill_entry(ledger[0], "base", 138 * mib, 140 * mib, true);
  fill_entry(ledger[1], "kv", 211 * mib, 512 * mib);
  fill_entry(ledger[2], "versions", 9.2 * mib, 0);
  fill_entry(ledger[3], "activations", 31 * mib, 32 * mib);
  fill_requests(b.initRequests());
  fill_traffic(b.initTraffic(1)[0]);
  b.setTokensPerSecond(143.25F);
  b.setTtftMsP50(312.5F);
  b.setTtftMsP99(1480);
  b.setTpotMsP50(61.25F);
  b.setTpotMsP99(98.5F);
  b.setSloAttainment(0.9975F);
}

void fill_nodes(schema::ClusterStatus::Builder b) {
  auto nodes = b.initNodes(3);
  const char* names[] = {"edge-a", "edge-b", "edge-c"};
  const char* sites[] = {"kitchen", "workshop", "workshop"};
  for (unsigned i = 0; i < 3; ++i) {
    nodes[i].setName(names[i]);
    nodes[i].setSite(sites[i]);
    nodes[i].setState(schema::NodeState::SERVING);
    nodes[i].setBeatAgeMs(240);
    if (i < 2) fill_snapshot(nodes[i].initSnapshot(), names[i], sites[i], 4101 + i);
  }
  nodes[1].getSnapshot().setDraining(true);
  nodes[1].setState(schema::NodeState::DRAINING);
  // No request in its last minute: the codec must carry what is no number.
  nodes[1].getSnapshot().setTpotMsP99(std::numeric_limits<float>::quiet_NaN());
  nodes[2].setState(schema::NodeState::LOST);
  nodes[2].setRestarts(2);
  nodes[2].setBeatAgeMs(UINT32_MAX);
  nodes[2].setReason("killed by signal 9");
  nodes[0].initMissing(1).set(0, "polite@1: the folder is gone");
}

void fill_record(schema::VersionRecord::Builder b, std::uint32_t number, std::int32_t parent,
                 schema::VersionState state) {
  b.setAdapter("assistant");
  b.setNumber(number);
  b.setDigest(number == 1 ? "a1b2c3d4e5f60718293a4b5c6d7e8f90"
                          : "5f0e1d2c3b4a59687786950413223140");
  b.setParent(parent);
  b.setState(state);
  b.setRank(8);
  b.setBytes(4'823'449);
  b.setSource(number == 1 ? "initial" : "peft:assistant-v2");
  b.setFolder(number == 1 ? "" : "/srv/adapters/assistant-v2");
  b.setAgeMs(number == 1 ? 754'000 : 93'000);
}

msg<schema::ClusterStatus> golden_status() {
  return msg<schema::ClusterStatus>::build([](schema::ClusterStatus::Builder b) {
    b.setCluster("demo");
    b.setUptimeMs(755'500);
    b.setVersion("0.1.0");
    b.setBaseName("smollm2-135m-instruct");
    b.setBaseDigest("9c1f3e5a7b2d4f60718293a4b5c6d7e8");
    b.setPrecision("int8");
    fill_process(b.initHead(), "head", "", 4100);
    auto actors = b.getHead().initActors(2);
    fill_actor(actors[0], {"registry", "", 0, 0.002F, 4, 0.5F});
    fill_actor(actors[1], {"supervisor", "", 0, 0.003F, 2266, 1.25F});
    fill_nodes(b);
    auto versions = b.initVersions(2);
    fill_record(versions[0], 1, -1, schema::VersionState::RETIRED);
    fill_record(versions[1], 2, 1, schema::VersionState::SERVING);
    b.initInactive(1).set(0, "spec.training: policy inference_only");
    b.setSloTtftMs(2000);
    b.setSloTpotMs(120);
  });
}

std::string as_json(const msg<schema::ClusterStatus>& status) {
  const auto parsed = nlohmann::ordered_json::parse(gateway::to_json(*status.read()));
  return parsed.dump(1) + "\n";
}

std::string content(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

using names = std::set<std::string>;

void all_fields(capnp::StructSchema schema, names& into);

void fields_below(capnp::Type type, names& into) {
  if (type.isList()) return fields_below(type.asList().getElementType(), into);
  if (type.isStruct()) all_fields(type.asStruct(), into);
}

std::string name_of(capnp::StructSchema::Field field) {
  return std::string(field.getContainingStruct().getShortDisplayName().cStr()) + "." +
         field.getProto().getName().cStr();
}

void all_fields(capnp::StructSchema schema, names& into) {
  for (const auto field : schema.getFields()) {
    into.insert(name_of(field));
    fields_below(field.getType(), into);
  }
}

void filled_fields(capnp::DynamicStruct::Reader value, names& into);

void filled_below(capnp::DynamicValue::Reader value, names& into) {
  if (value.getType() == capnp::DynamicValue::STRUCT) {
    filled_fields(value.as<capnp::DynamicStruct>(), into);
  } else if (value.getType() == capnp::DynamicValue::LIST) {
    for (const auto item : value.as<capnp::DynamicList>()) filled_below(item, into);
  }
}

void filled_fields(capnp::DynamicStruct::Reader value, names& into) {
  for (const auto field : value.getSchema().getFields()) {
    if (!value.has(field, capnp::HasMode::NON_DEFAULT)) continue;
    into.insert(name_of(field));
    filled_below(value.get(field), into);
  }
}

}  // namespace

TEST(dashboard_snapshot, committed_file_is_what_the_codec_writes) {
  const auto now = as_json(golden_status());
  if (std::getenv("COLLM_WRITE_GOLDEN") != nullptr) std::ofstream(golden_file) << now;
  EXPECT_EQ(now, content(golden_file)) << "run this test with COLLM_WRITE_GOLDEN=1, then mend "
                                          "dashboard/src/status.ts until its tests pass";
}

TEST(dashboard_snapshot, leaves_no_field_of_the_schema_out) {
  names wanted, filled;
  all_fields(capnp::Schema::from<schema::ClusterStatus>(), wanted);
  const auto status = golden_status();
  const auto reader = status.read();
  filled_fields(capnp::DynamicStruct::Reader(*reader), filled);
  EXPECT_GT(wanted.size(), 70U);
  EXPECT_EQ(wanted, filled) << "fill the missing fields in golden_status()";
}

}  // namespace collm
