// msg<T>: the one carrier. An immutable, reference-counted flat Cap'n Proto message with a typed
// reader. Passed by reference count inside a process, never copied; bytes from outside are checked
// once, when they enter. Any thread may hold one; each reader belongs to the thread that called
// read().
#pragma once

#include <capnp/message.h>
#include <capnp/serialize.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "messages/limits.hpp"
#include "messages/result.hpp"
#include "messages/well_typed.hpp"

namespace collm {

/// Flat words of one message: segment table, then segments (Cap'n Proto's stream framing).
struct word_buffer {
  std::unique_ptr<capnp::word[]> words;
  std::size_t count = 0;
};

/// Copies a builder's segments into one flat buffer.
std::shared_ptr<const word_buffer> flatten(capnp::MessageBuilder& builder);

/// Copies and checks bytes from outside: whole words, segment table inside the bytes, size and
/// nesting limits. The root is checked by msg<T>::from_bytes.
result<std::shared_ptr<const word_buffer>> take_bytes(std::span<const std::byte> bytes,
                                                      const limits& bounds);

/// Runs `f`, turning what a reader throws on malformed remote data into an error: every handler of
/// remote data runs under it.
template <class F>
auto guard(F&& f) -> result<decltype(f())> {
  try {
    if constexpr (std::is_void_v<decltype(f())>) {
      f();
      return {};
    } else {
      return f();
    }
  } catch (const kj::Exception& e) {
    return error{errc::corrupt, std::string("malformed message: ") + e.getDescription().cStr()};
  }
}

template <class T>
class msg {
 public:
  using schema = T;

  /// Empty: holds no message; read() of it is a bug.
  msg() = default;

  /// Builds one message: fill(T::Builder).
  template <class F>
  static msg build(F&& fill) {
    capnp::MallocMessageBuilder builder;
    fill(builder.initRoot<T>());
    return msg(flatten(builder));
  }

  /// Copies a struct that lives elsewhere, such as an RPC parameter. Throws a kj::Exception where
  /// it is not what the schema says, larger than `bytes_max` or too deep: whoever gets the copy,
  /// such as an actor that would end, reads it without one. Pointers of one message may share what
  /// they point to, and a copy has it each time.
  static msg copy_of(typename T::Reader reader, std::size_t bytes_max = SIZE_MAX) {
    KJ_REQUIRE(
        bytes_max == SIZE_MAX || reader.totalSize().wordCount <= bytes_max / sizeof(capnp::word),
        "larger than it may be", bytes_max);
    capnp::MallocMessageBuilder builder;
    builder.setRoot(reader);
    require_well_typed(builder.getRoot<T>().asReader());
    return msg(flatten(builder));
  }

  /// Bytes from outside; refuses what is not one well-formed message of this schema within the
  /// limits.
  static result<msg> from_bytes(std::span<const std::byte> bytes, const limits& bounds = {}) {
    auto words = take_bytes(bytes, bounds);
    if (!words) return words.failure();
    msg m(std::move(*words));
    auto walked = guard([&] {
      capnp::ReaderOptions options;
      options.traversalLimitInWords = m.words_->count * 2 + 64;
      options.nestingLimit = static_cast<int>(bounds.nesting_max);
      capnp::FlatArrayMessageReader reader(m.array(), options);
      // A copy, not totalSize(): only a copy counts lists of empty structs, which claim any length
      // in one word.
      capnp::MallocMessageBuilder copy;
      copy.setRoot(reader.template getRoot<T>());
      require_well_typed(copy.getRoot<T>().asReader());
    });
    if (!walked) return walked.failure();
    return m;
  }

  /// A typed reader with the words it reads. Not copyable; keep it on the stack of the handler.
  class view {
   public:
    explicit view(std::shared_ptr<const word_buffer> words)
        : words_(std::move(words)),
          reader_(kj::ArrayPtr<const capnp::word>(words_->words.get(), words_->count), options()),
          root_(reader_.template getRoot<T>()) {}
    const typename T::Reader* operator->() const { return &root_; }
    const typename T::Reader& operator*() const { return root_; }

   private:
    static capnp::ReaderOptions options() {
      capnp::ReaderOptions o;
      o.traversalLimitInWords =
          ~std::uint64_t{0} >> 4;  // checked on entry: repeated reads must not use it up
      return o;
    }
    std::shared_ptr<const word_buffer> words_;
    mutable capnp::FlatArrayMessageReader reader_;
    typename T::Reader root_;
  };

  view read() const { return view(words_); }
  bool empty() const { return words_ == nullptr; }
  std::span<const std::byte> bytes() const {
    return std::as_bytes(std::span(words_->words.get(), words_->count));
  }

 private:
  explicit msg(std::shared_ptr<const word_buffer> words) : words_(std::move(words)) {}
  kj::ArrayPtr<const capnp::word> array() const { return {words_->words.get(), words_->count}; }
  std::shared_ptr<const word_buffer> words_;
};

}  // namespace collm
