// The fields of a manifest: which exist, what each may hold. One function a section, in the order
// of the document. Inside deploy/ only.
#pragma once

#include "deploy/manifest_section.hpp"

namespace collm::deploy {

inline constexpr std::size_t nodes_max = 64, adapters_max = 64, tenants_max = 1024,
                             federations_max = 64;

/// apiVersion, kind, metadata, spec.
void read_cluster(section& document, manifest& out);

/// Defaults that depend on other fields: a quorum that was not written fits the number of replicas.
void complete_cluster(manifest& m);

/// What no single field shows: names that repeat or point nowhere, addresses used twice.
void check_cluster(const manifest& m, std::vector<problem>& problems);

}  // namespace collm::deploy
