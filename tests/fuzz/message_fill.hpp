// Fills any message by its schema, so that a field added tomorrow is covered today.
#pragma once

#include <capnp/dynamic.h>
#include <capnp/schema.h>

#include <cstdint>
#include <string>
#include <vector>

namespace collm::fuzz {

class filler {
 public:
  explicit filler(unsigned variant) : variant_(variant) {}

  void fill(capnp::DynamicStruct::Builder to) {
    for (auto field : to.getSchema().getNonUnionFields()) set(to, field);
    // A member without a value says nothing; the others are taken in turn.
    std::vector<capnp::StructSchema::Field> members;
    for (auto field : to.getSchema().getUnionFields())
      if (field.getProto().isGroup() || !field.getType().isVoid()) members.push_back(field);
    if (!members.empty()) set(to, members[variant_ % members.size()]);
  }

 private:
  void set(capnp::DynamicStruct::Builder to, capnp::StructSchema::Field field) {
    if (field.getProto().isGroup()) return fill(to.init(field).as<capnp::DynamicStruct>());
    const auto type = field.getType();
    if (type.isInterface() || type.isAnyPointer()) return;
    if (type.isStruct()) return fill(to.init(field).as<capnp::DynamicStruct>());
    if (type.isList()) return fill_list(to.init(field, 2).as<capnp::DynamicList>());
    if (type.isEnum()) {
      const auto names = type.asEnum().getEnumerants();
      return to.set(field, capnp::DynamicEnum(names[++count_ % names.size()]));
    }
    to.set(field, scalar(type));
  }

  void fill_list(capnp::DynamicList::Builder to) {
    const auto type = to.getSchema().getElementType();
    for (unsigned i = 0; i < to.size(); ++i) {
      if (type.isStruct()) {
        fill(to[i].as<capnp::DynamicStruct>());
      } else {
        to.set(i, scalar(type));
      }
    }
  }

  capnp::DynamicValue::Reader scalar(capnp::Type type) {
    ++count_;
    if (type.isText()) {
      text_ = "text " + std::to_string(count_);
      return capnp::Text::Reader(text_.c_str(), text_.size());
    }
    if (type.isData()) {
      text_ = "data " + std::to_string(count_);
      return capnp::Data::Reader(reinterpret_cast<const kj::byte*>(text_.data()), text_.size());
    }
    if (type.isBool()) return true;
    if (type.isFloat32() || type.isFloat64()) return count_ + 0.5;
    return count_;
  }

  const unsigned variant_;
  std::uint32_t count_ = 0;
  std::string text_;
};

/// Sets every field to a value of its own; `variant` picks the member of each union.
inline void fill(capnp::DynamicStruct::Builder to, unsigned variant) { filler(variant).fill(to); }

}  // namespace collm::fuzz
