// What a peer sent, as a message for actors.
#pragma once

#include <capnp/dynamic.h>

#include "messages/msg.hpp"

namespace collm::link {

/// Reads every pointer of a struct as its schema says. Throws a kj::Exception at the first that
/// points to something else, as a list where a text belongs.
void read_all(const capnp::DynamicStruct::Reader& from);

/// A copy that whoever gets it can read without an exception. msg::copy_of alone copies what is
/// there, whatever the schema says of it, and the actor that reads it later would end. Throws as
/// read_all does, and where the copy would be too large or too deep.
template <class T>
msg<T> copy_from_peer(const typename T::Reader& reader) {
  auto copied = msg<T>::copy_of(reader);
  read_all(*copied.read());
  return copied;
}

}  // namespace collm::link
