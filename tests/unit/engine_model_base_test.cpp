// The packed base: one mapping for all who open a file, atomic to make, refused by name when
// damaged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "engine/kernels/cpu_path.hpp"
#include "engine/model/base_file.hpp"
#include "engine/model/gguf_parse.hpp"

namespace collm::engine {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class engine_base : public testing::Test {
 protected:
  engine_base() {
    std::string name = (fs::temp_directory_path() / "collm_base.XXXXXX").string();
    folder = ::mkdtemp(name.data());
  }
  ~engine_base() override { fs::remove_all(folder); }
  static fs::path model(const std::string& name) {
    return fs::path(COLLM_SOURCE_DIR) / "tests/golden/data" / name / "model.gguf";
  }
  base_ptr open(const std::string& name, precision p) const {
    auto b = open_base(model(name), p, folder);
    EXPECT_TRUE(b) << b.failure().message;
    return b ? *b : nullptr;
  }
  fs::path packed_file() const { return fs::directory_iterator(folder)->path(); }
  fs::path folder;
};

TEST_F(engine_base, two_opened_from_one_file_are_one_mapping) {
  const auto a = open("tied", precision::int8), b = open("tied", precision::int8);
  EXPECT_EQ(a.get(), b.get());
  EXPECT_EQ(a->mapping(), b->mapping());
  EXPECT_NE(a->mapping(), open("tied", precision::f32)->mapping());
}

TEST_F(engine_base, opened_by_many_threads_at_once_is_packed_once) {
  std::vector<base_ptr> all(8);
  {
    std::vector<std::jthread> threads;
    for (auto& b : all) threads.emplace_back([&] { b = open("untied", precision::int8); });
  }
  for (const auto& b : all) EXPECT_EQ(all[0].get(), b.get());
  EXPECT_EQ(1, std::distance(fs::directory_iterator(folder), {}));
}

TEST_F(engine_base, is_packed_until_it_is_told_to_stop_and_leaves_nothing_behind) {
  for (const auto p : {precision::f32, precision::int8}) {
    std::uint32_t tensors = 0;
    ASSERT_TRUE(open_base(model("untied"), p, folder / "counted", [&] { return ++tensors == 0; }));
    ASSERT_GT(tensors, 10u);
    for (std::uint32_t last = 1; last <= tensors; ++last) {
      std::uint32_t asked = 0;
      const auto stopped =
          open_base(model("untied"), p, folder / "cache", [&] { return ++asked >= last; });
      ASSERT_FALSE(stopped) << last;
      EXPECT_EQ(stopped.failure().code, errc::cancelled) << stopped.failure().message;
      EXPECT_EQ(asked, last) << "nothing more is read";
      EXPECT_TRUE(fs::is_empty(folder / "cache"));
    }
    EXPECT_TRUE(open_base(model("untied"), p, folder / "cache"));
    fs::remove_all(folder / "cache");
  }
}

/// The inode of the packed base that this process has mapped; 0: none.
std::uint64_t mapped_inode() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string range, mode, offset, device, path;
    std::uint64_t inode = 0;
    words >> range >> mode >> offset >> device >> inode >> path;
    if (path.ends_with(".base")) return inode;
  }
  return 0;
}

TEST_F(engine_base, opened_by_many_processes_at_once_is_one_file) {
  constexpr int count = 8;
  int start[2], answers[2];
  ASSERT_EQ(0, ::pipe(start));
  ASSERT_EQ(0, ::pipe(answers));
  std::vector<pid_t> children;
  for (int i = 0; i < count; ++i)
    if (children.push_back(::fork()); children.back() == 0) {
      ::close(start[1]);
      char end;
      (void)!::read(start[0], &end, 1);  // until the parent closes the pipe: all begin at once
      const auto b = open("untied", precision::int8);
      const auto inode = b ? mapped_inode() : 0;
      ::_exit(::write(answers[1], &inode, sizeof inode) == sizeof inode ? 0 : 1);
    }
  ::close(start[0]), ::close(start[1]), ::close(answers[1]);
  std::set<std::uint64_t> inodes;
  std::uint64_t inode = 0;
  while (::read(answers[0], &inode, sizeof inode) == sizeof inode) inodes.insert(inode);
  ::close(answers[0]);
  for (const pid_t child : children) {
    int status = -1;
    EXPECT_EQ(child, ::waitpid(child, &status, 0));
    EXPECT_EQ(0, status);
  }
  EXPECT_EQ(1u, inodes.size());
  EXPECT_FALSE(inodes.contains(0));
}

TEST_F(engine_base, maps_what_was_packed_without_packing_again) {
  const auto digest = open("tied", precision::int8)->digest();
  const auto made = fs::last_write_time(packed_file());
  const auto again = open("tied", precision::int8);
  EXPECT_EQ(made, fs::last_write_time(packed_file()));
  // Without AVX-512 VNNI four bits lie in the file as bytes.
  EXPECT_EQ(digest + (chosen_path() == avx512_path ? "-int8" : "-int8-wide") + "-v6.base",
            packed_file().filename());
  EXPECT_EQ(64u, digest.size());
  EXPECT_EQ(fs::file_size(packed_file()), again->mapping_bytes());
}

TEST_F(engine_base, keeps_shape_and_vocabulary_in_its_file) {
  const auto b = open("untied", precision::int8);
  const auto& s = b->shape();
  EXPECT_EQ("llama", s.architecture);
  EXPECT_EQ(3u, s.layers);
  EXPECT_EQ(40u, s.hidden);
  EXPECT_EQ(4u, s.heads);
  EXPECT_EQ(2u, s.kv_heads);
  EXPECT_EQ(12u, s.head_dim);
  EXPECT_EQ(56u, s.ffn);
  EXPECT_EQ(320u, s.context);
  EXPECT_EQ(100000.0f, s.rope_theta);
  EXPECT_FALSE(s.tied_embeddings);
  EXPECT_EQ(s.vocab, b->vocabulary().tokens.size());
  EXPECT_EQ("<|im_end|>", b->vocabulary().tokens.at(static_cast<std::size_t>(b->vocabulary().eos)));
  EXPECT_EQ("t h", b->vocabulary().merges.at(0));
  EXPECT_EQ(text::token_type::control, b->vocabulary().types.at(0));
}

void expect_half_a_step(const float* from, const linear_s8& to) {
  for (std::uint32_t o = 0; o < to.out; ++o) {
    std::int32_t correction = 0;
    for (std::uint32_t k = 0; k < to.in; ++k) {
      const auto w = to.weight(o, k);
      EXPECT_NEAR(from[std::size_t{o} * to.in + k], static_cast<float>(w) * to.scale[o],
                  0.5001f * to.scale[o]);
      correction += 128 * w;
    }
    for (std::uint32_t j = 0; j < to.hi; ++j) {
      if (!to.whole()) {
        EXPECT_EQ(to.weight(o, to.hi_index[j]), to.tiles[to.at_hi(o, j)]);
      }
      correction += (128 << to.hi_shift) * to.weight(o, to.hi_index[j]);
    }
    EXPECT_EQ(correction, to.correction[o]);
  }
}

TEST_F(engine_base, int8_weights_stand_within_half_a_step_of_f32) {
  const auto f32 = open("tied", precision::f32), int8 = open("tied", precision::int8);
  for (const auto m : {matrix::gate_up, matrix::down}) {
    const auto& from = packed(*f32).weights().layers[1].of(m);
    const auto& to = packed(*int8).weights().layers[1].of(m).s8;
    EXPECT_EQ(m == matrix::down, to.whole());
    expect_half_a_step(from.f32, to);
  }
}

/// A copy of the golden model with `value` in the first `count` elements of one F32 tensor.
fs::path spoilt(const fs::path& folder, const std::string& tensor, std::size_t count, float value) {
  const auto from = fs::path(COLLM_SOURCE_DIR) / "tests/golden/data/tied/model.gguf";
  std::ifstream in(from, std::ios::binary);
  std::vector<std::uint8_t> file{std::istreambuf_iterator<char>(in), {}};
  const auto parsed = parse_gguf(file);
  const auto& t = parsed->tensors.at(tensor);
  EXPECT_EQ(tensor_type::f32, t.type);
  auto* at = file.data() + (t.bytes.data() - file.data());
  for (std::size_t i = 0; i < count; ++i) std::memcpy(at + i * sizeof value, &value, sizeof value);
  const auto to = folder / "spoilt.gguf";
  std::ofstream(to, std::ios::binary)
      .write(reinterpret_cast<const char*>(file.data()), static_cast<std::streamsize>(file.size()));
  return to;
}

TEST_F(engine_base, weights_that_are_no_numbers_are_refused_by_their_tensor) {
  for (const float value : {std::nanf(""), -std::numeric_limits<float>::infinity()})
    for (const char* tensor : {"blk.0.attn_norm.weight", "blk.1.ffn_down.weight"})
      for (const auto p : {precision::f32, precision::int8}) {
        const auto b = open_base(spoilt(folder, tensor, 1, value), p, folder / "cache");
        ASSERT_FALSE(b) << tensor;
        EXPECT_THAT(b.failure().message,
                    HasSubstr(std::string("tensor '") + tensor + "': element 0 is NaN"));
      }
}

TEST_F(engine_base, a_row_of_denormal_weights_is_a_row_of_zeros) {
  for (const float value : {1e-41f, 3e-37f}) {
    const auto inputs = open("tied", precision::f32)->shape().ffn;
    const auto b = open_base(spoilt(folder, "blk.1.ffn_down.weight", inputs, value),
                             precision::int8, folder / "cache");
    ASSERT_TRUE(b) << b.failure().message;
    const auto& w = packed(**b).weights().layers[1].of(matrix::down).s8;
    EXPECT_EQ(0, w.scale[0]);
    for (std::uint32_t k = 0; k < w.in; ++k) EXPECT_EQ(0, w.weight(0, k)) << k;
    EXPECT_LT(0, w.scale[1]);
  }
}

TEST_F(engine_base, a_cut_file_is_corrupt_by_its_name_at_any_length) {
  (void)open("tied", precision::int8);
  const auto path = packed_file();
  const auto size = fs::file_size(path);
  for (std::uintmax_t cut :
       {size - 1, size / 2, std::uintmax_t{4096}, std::uintmax_t{100}, std::uintmax_t{7}}) {
    fs::resize_file(path, cut);
    const auto b = map_base_file(path);
    ASSERT_FALSE(b) << cut;
    EXPECT_EQ(errc::corrupt, b.failure().code);
    EXPECT_THAT(b.failure().message, HasSubstr(path.string()));
  }
}

TEST_F(engine_base, a_changed_header_is_corrupt) {
  (void)open("tied", precision::int8);
  const auto path = packed_file();
  for (std::streamoff at : {0, 9, 17, 25, 40, 200, 300}) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const char old = static_cast<char>(file.get());
    file.seekp(at);
    file.put(static_cast<char>(old ^ 0x55));
    file.close();
    EXPECT_FALSE(map_base_file(path)) << at;
    std::fstream(path, std::ios::in | std::ios::out | std::ios::binary).seekp(at).put(old);
  }
  EXPECT_TRUE(map_base_file(path));
}

TEST_F(engine_base, a_folder_that_cannot_be_written_is_an_io_error) {
  const auto file = folder / "file";
  std::ofstream(file) << "x";
  const auto b = open_base(model("tied"), precision::f32, file / "cache");
  ASSERT_FALSE(b);
  EXPECT_EQ(errc::io, b.failure().code);
}

}  // namespace
}  // namespace collm::engine
