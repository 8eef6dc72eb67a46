@0xd7a47f789be44158;
# Adaptation: what a site's shadow and the head's aggregator say to each other.
#
# The shadow asks. Once a second it tells how it stands (ShadowState) and is told what it has to do
# now (Work): nothing, so many optimizer steps of a round, or differences of a candidate on its own
# held-out data. Whoever was away asks again and gets the same answer, so a restart of either end
# needs no further message. When the steps are done, the shadow streams its update in chunks of at
# most 1 MiB (UpdateChunk, answered by UploadPlace: where to go on; every chunk names the update, so
# that either end may start anew). Factors of versions that rounds made are fetched the same way.
#
# What leaves a site is in this file: counts, losses, cross entropies, differences and factor
# changes. No text and no token of its data.
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("collm::schema");

enum TrainedFactors { both @0; aOnly @1; bOnly @2; }

enum ShadowPhase { idle @0; training @1; uploading @2; evaluating @3; paused @4; }

struct ShadowState {
  replica @0 :Text;             # the client of rounds: "edge-a/0"; stable over restarts
  site @1 :Text;
  adapter @2 :Text;
  phase @3 :ShadowPhase;
  trainSamples @4 :UInt32;      # in the site's store
  gateSamples @5 :UInt32;       # held out; what the gate may ask for
  tokensPerSecond @6 :Float32;  # of training, while it trains; 0: not measured yet
  round @7 :UInt32;             # of the task in progress; 0: none
  attempt @8 :UInt32;
  step @9 :UInt32;              # optimizer steps of the task so far
  loss @10 :Float32;            # of the last step, nats a completion token
  declined @11 :Text;
  # why it cannot do the task of `round` ("no sample to train on"); empty: it can
  steps @12 :UInt32;            # asked for by the task
  canarySamples @13 :UInt32;    # in the site's canary reference set
}

struct TrainTask {
  adapter @0 :Text;
  round @1 :UInt32;
  parent @2 :UInt32;            # version that training starts from
  parentDigest @3 :Text;        # of that version
  trained @4 :TrainedFactors;
  steps @5 :UInt32;
  keepMoments @6 :Bool = true;  # false: the optimizer starts anew
  proxMu @7 :Float32;           # FedProx; 0: off
  remainingMs @8 :UInt32;       # until the round closes without its stragglers
  lateCounts @9 :Bool;
  # fedbuff: an update that comes after its round counts in a later one; a task that an evaluation
  # interrupts goes on after it
}

struct EvaluateTask {
  # Differences of cross entropy, serving minus candidate, nats a token, of the first sequences in
  # the site's order for (adapter, candidate); guard: the same on the general text that every node
  # has. from: so many are known already.
  adapter @0 :Text;
  round @1 :UInt32;
  candidate @2 :UInt32;
  candidateDigest @3 :Text;
  serving @4 :UInt32;
  servingDigest @5 :Text;
  from @6 :UInt32;              # place in that order, not a count of differences
  count @7 :UInt32;             # of the site's own sequences, from `from` on
  guardFrom @8 :UInt32;
  guardCount @9 :UInt32;
  reference @10 :Bool;
  # true: of the site's canary reference set instead, and cross entropies of both instead of
  # differences: the candidate answers live requests meanwhile
}

struct Work {
  union {
    none @0 :Void;
    train @1 :TrainTask;
    evaluate @2 :EvaluateTask;
  }
}

struct UpdateHeader {
  # federation/update.hpp says what each field means and what is refused.
  client @0 :Text;
  round @1 :UInt32;
  attempt @2 :UInt32;
  adapter @3 :Text;
  baseDigest @4 :Text;
  parent @5 :UInt32;
  parentDigest @6 :Text;
  trained @7 :TrainedFactors;
  tokens @8 :Int64;
  values @9 :UInt64;
  digest @10 :Text;
  ranks @11 :List(UInt32);
}

struct UpdateChunk {
  header @0 :UpdateHeader;
  at @1 :UInt64;                # bytes; data empty: where do I go on?
  data @2 :Data;                # little-endian floats, at most 1 MiB
}

struct UploadPlace {
  next @0 :UInt64;              # bytes that are here
  accepted @1 :Bool;            # complete, checked, journalled: it counts in the round
}

struct Scores {
  # The answer to an EvaluateTask, whole or in parts.
  adapter @0 :Text;
  round @1 :UInt32;
  candidate @2 :UInt32;
  replica @3 :Text;
  site @4 :Text;
  from @5 :UInt32;
  differences @6 :List(Float64);
  guardFrom @7 :UInt32;
  guard @8 :List(Float64);
  failure @9 :Text;             # the candidate cannot be loaded or run here; empty: it can
  reference @10 :Bool;          # as in the task
  entropies @11 :List(Float64);         # reference: of the candidate, nats a token
  entropiesBefore @12 :List(Float64);   # reference: of the serving version, same sequences
  read @13 :UInt32;
  # sequences of the set, from `from` on, that were looked at: the next task goes on behind them.
  # One that the model cannot take has no difference. Fewer than asked for: there are no more
}

struct FactorsWanted {
  adapter @0 :Text;
  number @1 :UInt32;
  at @2 :UInt64;                # bytes
  count @3 :UInt32;             # at most 1 MiB
}

struct FactorsChunk {
  digest @0 :Text;              # sha256 of all the bytes, hex
  total @1 :UInt64;             # bytes
  data @2 :Data;
  # all factors of the version, little-endian floats: by layer, then target, A before B
}
