@0x9e33bc208f188c1e;
# Registry: immutable adapter versions and their lineage.
#
# The registry actor (head) is the only one that gives version numbers; a number is never reused.
# A node that loaded factors
# sends Register; the answer is the VersionRecord under which they are served. The same digest
# under the same name gets the
# same number again, so a retried Register is harmless. Promote and rollback are one transaction
# each; every node asks for the list each second and brings itself to what serves: it reads the
# folder of a version that it lacks, refuses it under another digest, and retires what was retired.
# Running requests keep the version they started with.
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("collm::schema");

enum VersionState {
  candidate @0; canary @1; serving @2; draining @3; retired @4; rejected @5; rolledBack @6;
}

struct VersionRecord {
  adapter @0 :Text;
  number @1 :UInt32;
  digest @2 :Text;              # sha256 over config and tensors, hex
  parent @3 :Int32 = -1;        # number of the version it came from; -1: none
  state @4 :VersionState;
  rank @5 :UInt32;
  bytes @6 :UInt64;
  source @7 :Text;              # "initial", "peft:<folder name>", "round:<n>"
  ageMs @8 :UInt64;             # since it was registered
  folder @9 :Text;
  # PEFT folder, absolute, where a node that lacks the version reads it; empty: made from the
  # manifest
}

struct Register {
  adapter @0 :Text;
  digest @1 :Text;
  parent @2 :Int32 = -1;
  rank @3 :UInt32;
  bytes @4 :UInt64;
  source @5 :Text;
  node @6 :Text;
  baseDigest @7 :Text;          # refused unless it is the cluster's base
  folder @8 :Text;              # as in VersionRecord
  atStart @9 :Bool;
  # what a node starts with: a version that is known already keeps its state, for a restart must
  # neither push a later one aside nor bring a retired one back
  candidate @10 :Bool;
  # made by a round: stays a candidate until the gate has spoken; of the head alone
  knownOnly @11 :Bool;
  # refused unless these factors are registered already; the head sets it for nodes that it did not
  # start, which must not decide what the others serve
}

struct VersionList { versions @0 :List(VersionRecord); }
