// Whether a message is what its schema says. Cap'n Proto itself looks at a pointer only when it is
// read, and throws then, wherever that is.
#pragma once

#include <capnp/dynamic.h>

namespace collm {

/// Reads every pointer of a struct as its schema says. Throws a kj::Exception at the first that
/// points to something else, as a list where a text belongs.
void require_well_typed(const capnp::DynamicStruct::Reader& from);

}  // namespace collm
