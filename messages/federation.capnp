@0xb24f19dd1b47a5ff;
# Federation: rounds as operators see them, and jobs. The rounds' own journal is text of
# federation/round_record.hpp; nothing here is its source.
using Cxx = import "/capnp/c++.capnp";
using Registry = import "registry.capnp";
$Cxx.namespace("collm::schema");

enum RoundState {
  opened @0; assigned @1; training @2; uploading @3; closed @4; voided @5; summed @6;
  candidate @7; gate @8; canary @9; serving @10; rejected @11;
}

enum ParticipantState {
  offered @0; training @1; uploading @2; accepted @3; declined @4; refused @5;
}

struct Participant {
  client @0 :Text;
  site @1 :Text;                # empty: not known since the head's restart
  state @2 :ParticipantState;
  steps @3 :UInt32;             # asked for
  step @4 :UInt32;              # done so far, as it last told
  tokens @5 :Float64;           # of its accepted update
  digest @6 :Text;              # of its accepted update; empty: none
  reason @7 :Text;              # declined or refused: why
}

struct Round {
  adapter @0 :Text;
  number @1 :UInt32;
  state @2 :RoundState;
  parent @3 :UInt32;
  version @4 :UInt32;           # its candidate; 0: none yet
  participants @5 :List(Participant);
  quorum @6 :UInt32;
  remainingMs @7 :UInt32;       # until the deadline; 0: passed or closed
  ageMs @8 :Float64;            # since it opened
  reason @9 :Text;              # why it is where it is
  aggregate @10 :Text;          # "fedavg", "rolora", ...
  error @11 :Float32;           # aggregation error of the mode; -1: not measured
}

struct RoundList { rounds @0 :List(Round); }   # oldest first, at most 256

struct SiteEffect {
  # d = cross entropy of serving minus candidate, nats a token, > 0: better
  site @0 :Text;                # "(guard)": the general text
  count @1 :UInt32;
  mean @2 :Float64;
  bound @3 :Float64;            # lower, 90 %
  weak @4 :Bool;                # fewer than 8 sequences
  veto @5 :Bool;
}

struct Explanation {
  # Why a version serves or does not: paired test, effect per site, what it is made of.
  version @0 :Registry.VersionRecord;
  round @1 :UInt32;             # 0: no round made it
  verdict @2 :Text;             # one line for people
  look @3 :UInt32;              # sequences at the look that decided
  count @4 :UInt32;
  mean @5 :Float64;
  lower @6 :Float64;
  margin @7 :Float64;
  sites @8 :List(SiteEffect);
  silent @9 :List(Text);        # sites that did not answer
  updates @10 :List(Participant);
}

struct Replay {
  # One round aggregated again, without one client's update. Rounds after it built on what it was.
  adapter @0 :Text;
  round @1 :UInt32;
  without @2 :Text;
  digest @3 :Text;              # of the factors that follow
  original @4 :Text;            # of those that the round made
  updates @5 :UInt32;           # that were summed
  relativeChange @6 :Float64;   # ||new - original|| / ||original||, all factors
  builtOn @7 :List(UInt32);     # later rounds that started from the original or its successors
}

enum JobState { queued @0; running @1; succeeded @2; failed @3; cancelled @4; }

struct JobRequest {
  adapter @0 :Text;
  rounds @1 :UInt32;            # 0: until nothing is gained any more
  site @2 :Text;                # whose gateway took it; empty: the head's
  trainingFile @3 :Text;        # id at that site; the head knows ids and counts only
  suffix @4 :Text;
  owner @5 :Text;               # tenant that asks; empty: whoever operates the cluster
}

struct Job {
  id @0 :Text;                  # "ftjob-..."
  adapter @1 :Text;
  state @2 :JobState;
  rounds @3 :UInt32;            # asked for
  done @4 :UInt32;              # rounds that ended
  promoted @5 :UInt32;          # versions that went live
  version @6 :UInt32;           # that serves now
  tokens @7 :Float64;           # trained on, all sites
  trainingFile @8 :Text;
  createdUnix @9 :Int64;        # s
  finishedUnix @10 :Int64;      # 0: not yet
  message @11 :Text;            # of a failure
  owner @12 :Text;              # tenant that asked for it; empty: whoever operates the cluster
  site @13 :Text;               # whose gateway took it; empty: the head's
}

struct JobList { jobs @0 :List(Job); }
