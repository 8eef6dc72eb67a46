@0xa9a7f3deb307483a;
# Cluster: who takes part. A node introduces itself once a connection (Hello, in Head.join); the
# head answers with Welcome or an
# error that names the difference. A node that comes back is the same name with a higher
# incarnation.
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("collm::schema");

struct Hello {
  name @0 :Text;                # must be the certificate's common name without ".node"
  site @1 :Text;
  incarnation @2 :UInt64;       # rises with every start of this node
  protocol @3 :UInt32;          # of the sender; the head accepts its own and one older
  baseDigest @4 :Text;
  tokenizerDigest @5 :Text;
  httpAddress @6 :Text;
  pid @7 :UInt32;
}

struct Welcome {
  protocol @0 :UInt32;
  beatMs @1 :UInt32;            # send a beat this often
  lostAfterMs @2 :UInt32;       # without a beat for so long the node counts as lost
}
