#include "engine/model/base_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "engine/model/gguf_mapping.hpp"
#include "engine/sha256.hpp"

namespace collm::engine {
namespace {

constexpr char magic[8] = {'C', 'O', 'L', 'L', 'M', 'B', 'S', '6'};
constexpr std::uint64_t page = 4096;                // the image starts on a page of its own
constexpr std::uint64_t facts_bytes_max = 1 << 28;  // a vocabulary of a million tokens

/// First bytes of the file. `facts` is CBOR: shape, precision, digest, vocabulary.
struct prologue {
  char magic[8];
  std::uint64_t facts_bytes, image_offset, image_bytes;
  char facts_digest[64];  ///< sha256 hex of the CBOR bytes
};

nlohmann::json shape_to_json(const model_shape& s) {
  return {{"architecture", s.architecture},
          {"layers", s.layers},
          {"hidden", s.hidden},
          {"ffn", s.ffn},
          {"heads", s.heads},
          {"kvHeads", s.kv_heads},
          {"headDim", s.head_dim},
          {"vocab", s.vocab},
          {"context", s.context},
          {"ropeTheta", s.rope_theta},
          {"normEpsilon", s.norm_epsilon},
          {"tied", s.tied_embeddings},
          {"gate", static_cast<int>(s.gate)},
          {"qkvBias", s.qkv_bias},
          {"headNorms", s.head_norms},
          {"postNorms", s.post_norms},
          {"embeddingScale", s.embedding_scale},
          {"window", s.window},
          {"windowPattern", s.window_pattern},
          {"windowRopeTheta", s.window_rope_theta},
          {"fourBit", s.four_bit},
          {"wide", s.wide}};
}

model_shape shape_from_json(const nlohmann::json& j) {
  model_shape s;
  s.architecture = j.at("architecture");
  s.layers = j.at("layers"), s.hidden = j.at("hidden"), s.ffn = j.at("ffn");
  s.heads = j.at("heads"), s.kv_heads = j.at("kvHeads"), s.head_dim = j.at("headDim");
  s.vocab = j.at("vocab"), s.context = j.at("context");
  s.rope_theta = j.at("ropeTheta"), s.norm_epsilon = j.at("normEpsilon");
  s.tied_embeddings = j.at("tied");
  s.gate = static_cast<gate_kind>(j.at("gate").get<int>());
  s.qkv_bias = j.at("qkvBias"), s.head_norms = j.at("headNorms");
  s.post_norms = j.at("postNorms"), s.embedding_scale = j.at("embeddingScale");
  s.window = j.at("window"), s.window_pattern = j.at("windowPattern");
  s.window_rope_theta = j.at("windowRopeTheta");
  s.four_bit = j.at("fourBit").get<std::vector<std::uint8_t>>();
  s.wide = j.value("wide", false);  // v6 files of before it could be
  return s;
}

nlohmann::json to_json(const base_facts& f) {
  std::vector<int> types;
  for (auto t : f.vocabulary.types) types.push_back(static_cast<int>(t));
  const auto& v = f.vocabulary;
  return {{"shape", shape_to_json(f.shape)},
          {"precision", static_cast<int>(f.precision)},
          {"digest", f.digest},
          {"vocabulary",
           {{"model", v.model},
            {"pre", v.pre_tokenizer},
            {"tokens", v.tokens},
            {"types", types},
            {"merges", v.merges},
            {"scores", v.scores},
            {"bos", v.bos},
            {"eos", v.eos},
            {"unknown", v.unknown},
            {"padding", v.padding},
            {"addBos", v.add_bos},
            {"addSpacePrefix", v.add_space_prefix},
            {"template", v.chat_template}}}};
}

/// Throws what nlohmann throws on a field that is missing or of another type.
base_facts from_json(const nlohmann::json& j) {
  base_facts f;
  f.shape = shape_from_json(j.at("shape"));
  f.precision = static_cast<precision>(j.at("precision").get<int>());
  f.digest = j.at("digest");
  const auto& v = j.at("vocabulary");
  f.vocabulary.model = v.at("model"), f.vocabulary.pre_tokenizer = v.at("pre");
  f.vocabulary.tokens = v.at("tokens").get<std::vector<std::string>>();
  for (int t : v.at("types").get<std::vector<int>>())
    f.vocabulary.types.push_back(static_cast<text::token_type>(t));
  f.vocabulary.merges = v.at("merges").get<std::vector<std::string>>();
  f.vocabulary.scores = v.value("scores", std::vector<float>());
  f.vocabulary.add_space_prefix = v.value("addSpacePrefix", false);
  f.vocabulary.bos = v.at("bos"), f.vocabulary.eos = v.at("eos");
  f.vocabulary.unknown = v.at("unknown"), f.vocabulary.padding = v.at("padding");
  f.vocabulary.add_bos = v.at("addBos"), f.vocabulary.chat_template = v.at("template");
  return f;
}

error damaged(const std::filesystem::path& path, const std::string& why) {
  return {errc::corrupt,
          path.string() + ": " + why + "; remove the file, it is packed again from the model", 0};
}

error refused(const std::filesystem::path& path, const char* what) {
  return {errc::io, path.string() + ": " + what + ": " + std::strerror(errno), 0};
}

bool write_all(int fd, const void* data, std::size_t size) {
  const auto* p = static_cast<const char*>(data);
  while (size > 0) {
    const auto done = ::write(fd, p, size);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    p += done;
    size -= static_cast<std::size_t>(done);
  }
  return true;
}

void sync_folder(const std::filesystem::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;  // the rename stands; only its survival of a power cut is not assured
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

std::string base_file_name(const std::string& digest, precision p, bool wide) {
  return digest + (p == precision::f32 ? "-f32" : wide ? "-int8-wide" : "-int8") + "-v6.base";
}

result<void> write_base_file(const std::filesystem::path& path, const base_facts& facts,
                             std::span<const std::uint8_t> image) {
  const auto cbor = nlohmann::json::to_cbor(to_json(facts));
  prologue head{};
  std::memcpy(head.magic, magic, sizeof magic);
  head.facts_bytes = cbor.size();
  head.image_offset = (sizeof head + cbor.size() + page - 1) / page * page;
  head.image_bytes = image.size();
  std::memcpy(head.facts_digest, sha256_hex(cbor).data(), sizeof head.facts_digest);

  std::string temporary = path.string() + ".XXXXXX";
  const int fd = ::mkostemp(temporary.data(), O_CLOEXEC);
  if (fd < 0) return refused(temporary, "cannot create");
  const std::vector<char> gap(head.image_offset - sizeof head - cbor.size());
  const bool written =
      write_all(fd, &head, sizeof head) && write_all(fd, cbor.data(), cbor.size()) &&
      write_all(fd, gap.data(), gap.size()) && write_all(fd, image.data(), image.size()) &&
      ::fchmod(fd, 0644) == 0 && ::fsync(fd) == 0;
  const auto why = refused(temporary, "cannot write");
  ::close(fd);
  if (!written || ::rename(temporary.c_str(), path.c_str()) != 0) {
    const auto failure = written ? refused(path, "cannot rename to") : why;
    ::unlink(temporary.c_str());
    return failure;
  }
  sync_folder(path.parent_path());
  return {};
}

result<packing_lock> packing_lock::take(const std::filesystem::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return refused(folder, "cannot open");
  packing_lock lock(fd);
  // The kernel gives the lock back when its holder dies. A file system without locks (errno is then
  // not EINTR) costs at worst the second copy that the lock avoids.
  while (::flock(fd, LOCK_EX) != 0 && errno == EINTR) continue;
  return lock;
}

packing_lock::~packing_lock() {
  if (fd_ >= 0) ::close(fd_);
}

result<std::shared_ptr<const packed_base>> map_base_file(const std::filesystem::path& path) {
  auto opened = file_mapping::open(path);
  if (!opened) return opened.failure();
  const auto mapping = std::make_shared<file_mapping>(std::move(*opened));
  const auto bytes = mapping->bytes();
  prologue head;
  if (bytes.size() < sizeof head) return damaged(path, "shorter than its header");
  std::memcpy(&head, bytes.data(), sizeof head);
  if (std::memcmp(head.magic, magic, sizeof magic) != 0) return damaged(path, "not a packed base");
  if (head.facts_bytes > facts_bytes_max || head.facts_bytes > bytes.size() - sizeof head ||
      head.image_offset % page != 0 || head.image_offset < sizeof head + head.facts_bytes ||
      head.image_offset > bytes.size() || head.image_bytes != bytes.size() - head.image_offset)
    return damaged(path, "its sizes do not fit the file");
  const auto cbor = bytes.subspan(sizeof head, head.facts_bytes);
  if (sha256_hex(cbor) != std::string_view(head.facts_digest, sizeof head.facts_digest))
    return damaged(path, "its header does not match its digest");
  base_facts facts;
  try {
    facts = from_json(nlohmann::json::from_cbor(cbor.begin(), cbor.end()));
  } catch (const nlohmann::json::exception& e) {
    return damaged(path, std::string("its header does not parse: ") + e.what());
  }
  std::uint64_t needed = 0;
  (void)bind_weights(facts.shape, facts.precision, nullptr, needed);
  if (needed != head.image_bytes)
    return damaged(path, "its weights have another size than its shape says");
  return std::make_shared<const packed_base>(std::move(facts), mapping, bytes,
                                             bytes.data() + head.image_offset);
}

}  // namespace collm::engine
