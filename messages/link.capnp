@0x93125707310803d0;
# Link: the RPC interfaces. Two ports speak Cap'n Proto RPC, both two-party:
#
#   link port (head, mutual TLS): bootstrap = Head. A node connects outwards, calls join with
#   its own Node capability and gets
#     a Session; it beats as Welcome says. Either side treats a lost connection, or beats that
#     stop, as the other being away.
#   native port (gateways; plain on loopback): bootstrap = Gateway, for clients such as pycapnp.
#
# Tokens are plain calls with at most 16 unanswered (credits), not "-> stream": the stream window
# counts bytes, so thousands
# of small tokens would run ahead of a slow reader. generate is cancelled by dropping the call.
using Cxx = import "/capnp/c++.capnp";
using Inference = import "inference.capnp";
using Registry = import "registry.capnp";
using Cluster = import "cluster.capnp";
using Adaptation = import "adaptation.capnp";
using Federation = import "federation.capnp";
using Events = import "events.capnp";
$Cxx.namespace("collm::schema");

interface TokenSink {
  accepted @0 (accepted :Inference.Accepted) -> ();
  put @1 (chunk :Inference.TokenChunk) -> ();
}

struct ModelInfo {
  id @0 :Text;                  # "smollm2-135m-instruct", "assistant", "assistant@3"
  root @1 :Text;
  parent @2 :Text;              # empty: a base
  created @3 :Int64;            # Unix time, s
}

interface Gateway {
  ping @0 (echo :UInt64) -> (echo :UInt64);
  generate @1 (request :Inference.TextRequest, sink :TokenSink) -> (finish :Inference.Finish);
  # Errors are exceptions whose text starts with the code of messages/result.hpp: "overloaded:
  # ...; retry after 1200 ms".
  models @2 () -> (models :List(ModelInfo));
}

interface Node {
  # What a node lets its head do. One capability a joined node.
  generate @0 (request :Inference.Request, sink :TokenSink) -> (result :GenerateResult);
  load @1 (adapter :Text, folder :Text) -> (result :LoadResult);
  unload @2 (adapter :Text, number :UInt32) -> ();  # the registry has retired this version
  drain @3 (deadlineMs :UInt32) -> ();
  status @4 () -> (snapshot :Events.Snapshot);
  versions @5 () -> (list :Registry.VersionList);   # that requests can name on this node
  version @6 (record :Registry.VersionRecord) -> ();
  # new requests by bare name go to this one (or: it is gone)
  rotate @7 () -> (result :Outcome);
  # make a new key now and have its certificate signed (Session.renew)
}

struct GenerateResult {
  union { finish @0 :Inference.Finish; reject @1 :Inference.Reject; }
}

struct Failure { code @0 :Text; message @1 :Text; retryAfterMs @2 :UInt32; }

struct LoadResult {
  union { record @0 :Registry.VersionRecord; failure @1 :Failure; }
}

interface Head {
  join @0 (hello :Cluster.Hello, node :Node) -> (session :Session, welcome :Cluster.Welcome);
}

interface Session {
  # One a connection; dropped with it.
  beat @0 (snapshot :Events.Snapshot) -> ();
  register @1 (register :Registry.Register) -> (result :LoadResult);
  versions @2 () -> (list :Registry.VersionList);
  event @3 (event :Events.Event) -> ();
  retire @4 (adapter :Text) -> (result :LoadResult);
  # an unload at a node's own gateway: what serves under this name leaves the whole cluster

  # Training, messages/adaptation.capnp. The node speaks for its own replicas only: a state, an
  # update or scores of another one's, or of another site, are forbidden. At most 32 of these calls
  # are open at once; one more is answered `overloaded`. A head older than these methods answers
  # `unimplemented`, which a node takes for a head that is away.
  shadow @5 (state :Adaptation.ShadowState) -> (result :WorkResult);
  upload @6 (chunk :Adaptation.UpdateChunk) -> (result :UploadResult);
  scores @7 (scores :Adaptation.Scores) -> (result :Outcome);
  factors @8 (wanted :Adaptation.FactorsWanted) -> (result :FactorsResult);

  # Jobs that this site's gateways took: ids and counts, no data.
  createJob @9 (request :Federation.JobRequest) -> (result :JobResult);
  jobs @10 () -> (result :JobListResult);
  cancelJob @11 (id :Text) -> (result :JobResult);

  # A node's next certificate, asked for in the last third of the life of the one it has, or when
  # the head says rotate. It shows the new one on its next connection; this one goes on. Once it
  # is stored, and the node has said so or shown it, older ones end after ten minutes.
  renew @12 (request :Data) -> (result :RenewResult);   # PKCS #10, DER, of a new key
  renewed @13 (id :Text) -> (result :Outcome);
}

struct RenewResult {
  union { certificate @0 :Text; failure @1 :Failure; }  # PEM
}

struct Outcome {
  union { done @0 :Void; failure @1 :Failure; }
}

struct WorkResult {
  union { work @0 :Adaptation.Work; failure @1 :Failure; }
}

struct UploadResult {
  union { place @0 :Adaptation.UploadPlace; failure @1 :Failure; }
}

struct FactorsResult {
  union { chunk @0 :Adaptation.FactorsChunk; failure @1 :Failure; }
}

struct JobResult {
  union { job @0 :Federation.Job; failure @1 :Failure; }
}

struct JobListResult {
  union { list @0 :Federation.JobList; failure @1 :Failure; }
}
