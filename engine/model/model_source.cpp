#include "engine/model/model_source.hpp"

#include "engine/model/hugging_face.hpp"

namespace collm::engine {
namespace {

class gguf_source final : public model_source {
 public:
  explicit gguf_source(std::shared_ptr<const gguf_file> file) : file_(std::move(file)) {}
  std::string sha256() const override { return file_->sha256(); }
  result<model_shape> shape() const override { return file_->shape(); }
  result<text::vocabulary> vocabulary() const override { return file_->vocabulary(); }
  const std::map<std::string, gguf_tensor>& tensors() const override { return file_->tensors(); }
  tensor_layout layout() const override {
    const auto shape = file_->shape();
    const auto* kind = shape ? architecture_named(shape->architecture) : nullptr;
    return {.interleaved_rotary = kind != nullptr && kind->interleaved_in_gguf};
  }

 private:
  std::shared_ptr<const gguf_file> file_;
};

}  // namespace

result<std::shared_ptr<const model_source>> model_source::open(const std::filesystem::path& path) {
  std::error_code ignored;  // what cannot be seen is refused by the file's own reader
  if (std::filesystem::is_directory(path, ignored)) return open_hugging_face(path);
  auto file = gguf_file::open(path);
  if (!file) return file.failure();
  return std::shared_ptr<const model_source>(std::make_shared<gguf_source>(std::move(*file)));
}

}  // namespace collm::engine
