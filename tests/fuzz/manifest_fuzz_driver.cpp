// Inputs of manifest_fuzz.cpp: mutations of the built-in manifest and of one with every section.
#include "deploy/manifest.hpp"
#include "tests/fuzz/fuzz_main.hpp"
#include "tests/fuzz/mutation.hpp"

namespace {

constexpr std::string_view whole = R"(apiVersion: collm.dev/v1alpha1
kind: Cluster
metadata: {name: a, labels: {x: y}}
spec:
  model: {source: smollm2-135m-instruct, precision: f32}
  memory: {budget: 1.5Gi}
  adapters: [{name: a.B, rank: 4, alpha: 8, targets: [q, v], spill: true}]
  head:
    stateDir: s
    gateway: {http: '[::]:8443', tls: {certificate: c.pem, key: k.pem}}
    listen: 127.0.0.1:8099
  nodes:
    - {name: n, site: s, placement: thread, replicas: 2, threads: 1, kvCache: 64Mi,
       data: builtin:kitchen, gateway: {http: 127.0.0.1:1}}
  slo: {ttft: 1.5s, tpot: 50ms}
  training: {batchTokens: 64, learningRate: 1e-4, warmupSteps: 2, cosineSteps: 9, clip: 1,
    maxUnit: 5ms}
  federation:
    - {adapter: a.B, strategy: {aggregate: fedavg, prox: 0.1},
       round: {deadline: 5s, quorum: 1, steps: 2},
       gate: {looks: [1, 2], margin: 0, canary: {share: 0.5, completions: 3, maxTime: 2s}}}
  coordinator: {policy: static_split, trainShare: 0.5}
  tenants:
    - {name: t, keySha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,
       site: s,
       class: batch, rate: 10/s, tokenRate: 600/min}
  admin: {keySha256: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb}
  limits: {requestBytes: 64Ki, promptTokens: 100, queuedRequests: 4, connections: 8,
           engineSilence: 10s}
)";
constexpr std::string_view pieces[] = {
    "\n",        "  ", "- ",   ": ",           "{",     "}",     "[",      "]",        ",",
    "&a ",       "*a", "<<",   "!!int",        "|\n",   ">",     "\"",     "'",        "#",
    "---\n",     "\t", "~",    "-1",           "1e999", "0x10",  ".5",     "null",     "999999",
    "127.0.0.1", "::", "\xff", "\xef\xbb\xbf", "\x00",  "spec:", "nodes:", "{{{{{{{{", "[[[[[[[["};

}  // namespace

void collm::fuzz::drive(void (&run)(const std::string& bytes), std::uint32_t seed) {
  std::mt19937 random(5 + seed);
  const std::string_view seeds[] = {whole, deploy::builtin_manifest()};
  for (const auto text : seeds) run(std::string(text));
  for (int i = 0; i < 4000; ++i) run(mutated(random, seeds, pieces));
}
