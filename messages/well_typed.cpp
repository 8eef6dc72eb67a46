#include "messages/well_typed.hpp"

#include <capnp/any.h>

namespace collm {

namespace {

bool is_pointer(capnp::Type type) {
  return type.isText() || type.isData() || type.isList() || type.isStruct();
}

void read_value(capnp::Type type, const capnp::DynamicValue::Reader& value);

/// The elements of a list have one layout. Those without pointers may be as many as they claim, in
/// no bytes at all.
void read_elements(const capnp::DynamicList::Reader& list) {
  const auto type = list.getSchema().getElementType();
  if (!is_pointer(type) || list.size() == 0) return;
  const bool empty =
      type.isStruct() &&
      capnp::AnyStruct::Reader(list[0].as<capnp::DynamicStruct>()).getPointerSection().size() == 0;
  if (empty) return;
  for (const auto element : list) read_value(type, element);
}

void read_value(capnp::Type type, const capnp::DynamicValue::Reader& value) {
  if (type.isStruct()) require_well_typed(value.as<capnp::DynamicStruct>());
  if (type.isList()) read_elements(value.as<capnp::DynamicList>());
}

}  // namespace

void require_well_typed(const capnp::DynamicStruct::Reader& from) {
  const auto read = [&](capnp::StructSchema::Field field) {
    if (is_pointer(field.getType()) && from.has(field))
      read_value(field.getType(), from.get(field));
  };
  for (const auto field : from.getSchema().getNonUnionFields()) read(field);
  KJ_IF_MAYBE (field, from.which()) read(*field);
}

}  // namespace collm
