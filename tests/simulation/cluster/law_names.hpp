// The laws of the simulated cluster, by the words in which a breach is told.
#pragma once

namespace collm::simulation::law {

// -- requests
inline constexpr const char* once =
    "every request is accounted for once, and nothing comes after its end";
inline constexpr const char* one_version = "an answer is computed by exactly one immutable version";
inline constexpr const char* sequence = "tokens come in sequence, without gap or repeat";
inline constexpr const char* in_its_site = "a request is answered in the site that it named";

// -- engines and replicas
inline constexpr const char* bounds = "queues and credit keep their bounds";
inline constexpr const char* credit = "credit out is what the engine holds";
inline constexpr const char* pins =
    "a version is pinned by each of its requests, and by nothing else";
inline constexpr const char* blocks = "KV blocks belong to running requests alone";

// -- versions and rounds
inline constexpr const char* numbers = "a version number is never given again";
inline constexpr const char* one_serves = "no two versions of one name serve";
inline constexpr const char* counts = "a round counts an update once";
inline constexpr const char* sum = "a version's bytes follow from the accepted updates alone";
inline constexpr const char* durable = "what was journalled survives";

// -- all of them
inline constexpr const char* meters = "no unexpected message, no exception";
inline constexpr const char* follows = "a quiet node serves what the registry says";
inline constexpr const char* shown = "the status shows what is";
inline constexpr const char* progress =
    "with faults ended everything ends within bounded virtual time";

}  // namespace collm::simulation::law
