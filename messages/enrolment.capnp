@0xd8f6a0b5c3e14977;
# Enrolment: how a node that the head did not start gets its certificate. One TLS connection to the
# head's enrolment port, on which the head shows a certificate and the node none. The node compares
# the digest of the authority with its join token's before it says a word; then one message each
# way, and the connection ends. Nothing else is served on that port.
using Cxx = import "/capnp/c++.capnp";
using Link = import "link.capnp";
$Cxx.namespace("collm::schema");

struct Enrol {
  secret @0 :Data;              # 32 bytes, from the join token
  request @1 :Data;
  # PKCS #10, DER, P-256: proves the node's key, which stays where it is. Its subject is not read:
  # the token names the node.
}

struct Enrolled {
  union { member @0 :Member; failure @1 :Link.Failure; }
}

struct Member {
  cluster @0 :Text;
  node @1 :Text;
  site @2 :Text;
  authority @3 :Text;           # PEM
  certificate @4 :Text;         # PEM, for the request's key
  link @5 :Text;                # where the node finds its head: "10.0.0.5:8099"
  manifest @6 :Text;            # what the node runs, without other sites' tenants and data
}
