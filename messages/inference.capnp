@0xa97ded2c4085d717;
# Inference: one request and what comes back.
#
# A gateway session builds a Request and hands it to its bridge actor; bridge -> router -> replica
# -> engine. Back, straight
# from the engine to the bridge (or over the link to it), in this order:
#   Accepted  once, when the request is pinned to one immutable adapter version; no other
#   version ever answers it
#   TokenChunk  zero or more, each with the tokens of one step of one choice; seq counts them
#   from 0 within the request
#   Finish    once, last.    Or, instead of everything above: Reject, once.
# Before Accepted nothing was computed, so the bridge may try another replica; after it, never.
# Times are ages and durations in microseconds, never clocks.
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("collm::schema");

struct Sampling {
  # Neutral values switch a rule off. Meaning: OpenAI's, and engine/executor.hpp.
  temperature @0 :Float32 = 1;
  topK @1 :UInt32 = 0;
  topP @2 :Float32 = 1;
  minP @3 :Float32 = 0;
  repetitionPenalty @4 :Float32 = 1;
  presencePenalty @5 :Float32 = 0;
  frequencyPenalty @6 :Float32 = 0;
  seed @7 :UInt64;
  logprobs @8 :Int16 = -1;      # -1: none; else alternatives beside the chosen token
}

struct Request {
  id @0 :UInt64;                # unique within the gateway process
  model @1 :Text;
  # "assistant", "assistant@3", or the base's name; empty: the only adapter, else the base
  prompt @2 :List(UInt32);      # token ids, tokenised at the edge
  maxTokens @3 :UInt32 = 16;
  sampling @4 :Sampling;
  stops @5 :List(Text);
  ignoreEos @6 :Bool;
  choices @7 :UInt16 = 1;       # OpenAI's n; choice i uses seed + i
  site @8 :Text;                # where it must stay; empty on a node's own gateway
  tenant @9 :Text;              # empty: the keyless tenant
  cacheSalt @10 :UInt64;        # set by the server from the tenant, never by a client
  ageUs @11 :UInt64;            # since arrival at the first gateway
  interactive @12 :Bool = true; # class of the tenant; false: batch
}

struct Accepted {
  request @0 :UInt64;
  adapter @1 :Text;             # empty: base alone
  version @2 :UInt32;
  digest @3 :Text;              # sha256 of the adapter version, hex; empty: base
  replica @4 :Text;             # "edge-a/0"
  promptTokens @5 :UInt32;
}

struct TokenLogprob { token @0 :UInt32; logprob @1 :Float32; }

enum FinishReason { none @0; stop @1; length @2; cancelled @3; slowReader @4; error @5; }

struct Token {
  id @0 :UInt32;
  logprob @1 :Float32;          # natural log; 0 unless asked for
  top @2 :List(TokenLogprob);
}

struct TokenChunk {
  request @0 :UInt64;
  seq @1 :UInt32;
  choice @2 :UInt16;
  tokens @3 :List(Token);
  text @4 :Text;
  # complete UTF-8; may lag behind the tokens, never splits a character
  finish @5 :FinishReason;      # not none: this choice is over
}

struct Finish {
  request @0 :UInt64;
  reason @1 :FinishReason;
  # of the request: stop (every choice ended by itself) or why it was broken off
  promptTokens @2 :UInt32;
  cachedTokens @3 :UInt32;      # prompt tokens found in the prefix cache
  completionTokens @4 :UInt32;
  queueUs @5 :UInt64;           # admission to first scheduled
  prefillUs @6 :UInt64;         # first scheduled to first token
  decodeUs @7 :UInt64;          # first to last token
  message @8 :Text;             # for reason error
  notFinite @9 :Bool;           # error: the version's logits held NaN or infinity
}

struct Reject {
  request @0 :UInt64;
  code @1 :Text;                # messages/result.hpp's name: "overloaded", "not_found", ...
  message @2 :Text;
  retryAfterMs @3 :UInt32;      # 0: no advice
}

struct TextMessage { role @0 :Text; content @1 :Text; }

struct TextRequest {
  # What an outside Cap'n Proto client sends (link.capnp, Gateway.generate): text, not tokens.
  # Same fields as the HTTP body.
  model @0 :Text;
  input :union {
    prompt @1 :Text;
    messages @2 :List(TextMessage);
  }
  maxTokens @3 :UInt32 = 0;     # 0: what fits the context
  sampling @4 :Sampling;
  stops @5 :List(Text);
  ignoreEos @6 :Bool;
  choices @7 :UInt16 = 1;
  site @8 :Text;
}
