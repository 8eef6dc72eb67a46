#include "deploy/adapter_gguf.hpp"

#include "engine/adapter/gguf_lora.hpp"
#include "engine/adapter/peft.hpp"
#include "engine/model/model_source.hpp"

namespace collm::deploy {

result<void> write_adapter_gguf(const std::filesystem::path& model,
                                const std::filesystem::path& peft_folder,
                                const std::filesystem::path& to) {
  const auto source = engine::model_source::open(model);
  if (!source) return source.failure();
  const auto shape = (*source)->shape();
  if (!shape) return shape.failure();
  const auto adapter = engine::load_peft(*shape, peft_folder);
  if (!adapter) return adapter.failure();
  return engine::save_gguf_lora(**adapter, *shape, to);
}

}  // namespace collm::deploy
