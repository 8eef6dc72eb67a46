#include "deploy/doctor.hpp"

#include <arpa/inet.h>
#include <linux/magic.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "deploy/manifest_values.hpp"
#include "deploy/private_folder.hpp"

namespace collm::deploy {
namespace fs = std::filesystem;
namespace {

/// State, logs and a packed base fit easily; below this a disk is about to be full.
constexpr std::uint64_t free_disk_min = 1ull << 30;
/// Files that a process opens beside its gateway's connections, with room to spare.
constexpr std::uint64_t own_files = 256;

class descriptor {
 public:
  explicit descriptor(int fd) : fd_(fd) {}
  ~descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

std::uint64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("MemAvailable:")) return std::stoull(line.substr(13)) * 1024;
  }
  return 0;
}

/// The nearest folder above `path` that exists: where its file system is.
fs::path existing(fs::path path) {
  std::error_code ignored;  // what cannot be looked at does not exist for us
  while (path.has_relative_path() && !fs::exists(path, ignored)) path = path.parent_path();
  return path;
}

finding disk_of(const char* what, const fs::path& path) {
  std::error_code failed;
  const auto space = fs::space(existing(path), failed);
  if (failed)
    return {"disk", health::problem, std::string(what) + ": cannot look at " + path.string(),
            "choose a folder that can be read"};
  const std::string text =
      bytes_text(space.available) + " free for " + what + " (" + path.string() + ")";
  if (::access(existing(path).c_str(), W_OK) != 0) {
    return {"disk", health::problem, path.string() + " cannot be written",
            "choose another folder for " + std::string(what)};
  }
  if (space.available < free_disk_min)
    return {"disk", health::warning, text,
            "free some space: at least " + bytes_text(free_disk_min)};
  return {"disk", health::good, text, ""};
}

finding memory_of(const spawn_plan& plan) {
  const std::uint64_t available = available_memory();
  const std::string text = bytes_text(plan.planned_bytes()) + " planned of a budget of " +
                           bytes_text(plan.budget_bytes) + ", " + bytes_text(available) +
                           " available";
  if (available >= plan.planned_bytes()) return {"memory", health::good, text, ""};
  return {"memory", health::warning, text,
          "close other programs, or lower kvCache in the manifest"};
}

/// Never more threads than cores: such a manifest has no plan.
finding cores_of(const spawn_plan& plan, const machine& on) {
  std::uint32_t threads = 0;
  for (const node_plan& n : plan.nodes)
    if (plan.here(n)) threads += n.threads * n.replicas;
  return {"cores", health::good,
          std::to_string(on.cores) + " cores, " + std::to_string(threads) + " engine threads", ""};
}

/// A gateway's connections, the link and the engine's own files, of each process.
finding files_of(const spawn_plan& plan) {
  rlimit open{};
  ::getrlimit(RLIMIT_NOFILE, &open);
  const std::uint64_t wanted = plan.bounds.connections_max + own_files;
  const std::string text = std::to_string(open.rlim_cur) + " files may be open, " +
                           std::to_string(wanted) + " are enough";
  if (open.rlim_cur >= wanted) return {"files", health::good, text, ""};
  return {"files", health::warning, text,
          "ulimit -n " + std::to_string(wanted) + ", or lower limits.connections"};
}

/// Each address of the plan, and whose it is.
std::vector<std::pair<address, std::string>> addresses_of(const spawn_plan& plan) {
  std::vector<std::pair<address, std::string>> all = {{plan.head.http, "head"},
                                                      {plan.head.link, "link"}};
  if (plan.head.capnp) all.emplace_back(*plan.head.capnp, "head, Cap'n Proto");
  if (plan.head.enrol) all.emplace_back(*plan.head.enrol, "enrolment");
  for (const node_plan& n : plan.nodes) {
    if (!plan.here(n)) continue;
    all.emplace_back(n.http, n.name);
    if (n.capnp) all.emplace_back(*n.capnp, n.name + ", Cap'n Proto");
  }
  return all;
}

}  // namespace

std::string_view to_string(health h) {
  return h == health::good ? "good" : h == health::warning ? "warning" : "problem";
}

result<void> try_port(const address& a) {
  sockaddr_storage where{};
  socklen_t length = 0;
  const bool v6 = a.host.find(':') != std::string::npos;
  if (v6) {
    auto* in = reinterpret_cast<sockaddr_in6*>(&where);
    *in = {};
    in->sin6_family = AF_INET6, in->sin6_port = htons(a.port), length = sizeof *in;
    inet_pton(AF_INET6, a.host.c_str(), &in->sin6_addr);
  } else {
    auto* in = reinterpret_cast<sockaddr_in*>(&where);
    in->sin_family = AF_INET, in->sin_port = htons(a.port), length = sizeof *in;
    inet_pton(AF_INET, a.host.c_str(), &in->sin_addr);
  }
  const descriptor socket(::socket(where.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int yes = 1;  // as our gateways do: a port in TIME_WAIT is free
  if (socket.get() >= 0) ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (socket.get() < 0 || ::bind(socket.get(), reinterpret_cast<sockaddr*>(&where), length) != 0 ||
      ::listen(socket.get(), 1) != 0) {
    return error{errno == EADDRINUSE ? errc::conflict : errc::io, std::strerror(errno)};
  }
  return {};
}

std::optional<finding> wrong_file_system(const fs::path& state, long magic) {
  switch (magic) {
    case TMPFS_MAGIC:
      return finding{"disk", health::warning, state.string() + " lies in memory (tmpfs)",
                     "versions and rounds are lost at the next restart of the machine: name "
                     "another head.stateDir"};
    case NFS_SUPER_MAGIC:
    case CIFS_SUPER_MAGIC:
    case SMB2_SUPER_MAGIC:
      return finding{"disk", health::problem, state.string() + " lies on another machine's disk",
                     "databases are damaged there when two machines write: name a folder on a "
                     "local disk as head.stateDir"};
    default:
      return {};
  }
}

finding judged(const speed& s) {
  char text[160];
  std::snprintf(text, sizeof text,
                "%s: about %.0f tokens/s read, %.0f tokens/s written, one thread, one request",
                s.kernel_path.c_str(), s.prefill_tokens_per_s, s.decode_tokens_per_s);
  if (s.kernel_path != "portable") return {"speed", health::good, text, ""};
  return {"speed", health::warning, text,
          "this processor has neither AVX2 nor AVX-512; expect a tenth of the speed"};
}

std::vector<finding> busy_ports(const spawn_plan& plan) {
  std::vector<finding> busy;
  for (const auto& [where, whose] : addresses_of(plan)) {
    const auto tried = try_port(where);
    if (tried) continue;
    busy.push_back({"ports", health::problem,
                    to_string(where) + " (" + whose + "): " + tried.failure().message,
                    "end what listens there (collm down, if it is a cluster of yours), or change "
                    "the manifest"});
  }
  return busy;
}

/// While a head works with this state, the ports are its own cluster's.
static void add_ports(const spawn_plan& plan, std::vector<finding>& all) {
  if (state_lock::is_held(plan.head.state_dir)) {
    all.push_back(
        {"ports", health::good,
         "not tried: this cluster runs (a head works with " + plan.head.state_dir.string() + ")",
         ""});
    return;
  }
  const std::vector<finding> busy = busy_ports(plan);
  all.insert(all.end(), busy.begin(), busy.end());
  if (busy.empty()) {
    all.push_back({"ports", health::good,
                   "all " + std::to_string(addresses_of(plan).size()) + " ports are free", ""});
  }
}

std::vector<finding> examine(std::string_view yaml, std::string_view file, const fs::path& base_dir,
                             const machine& on) {
  std::vector<finding> all;
  const plan_check checked = make_plan(yaml, base_dir, on);
  for (const problem& p : checked.problems) {
    const bool model = p.field == "spec.model.source";
    all.push_back({model ? "model" : "manifest", health::problem, to_string(p, file),
                   model ? "./dev build fetches the catalogue's models"
                         : "mend the manifest; collm validate checks it"});
  }
  all.push_back(disk_of("the cache", on.cache_dir));
  if (!checked.plan) return all;
  const spawn_plan& plan = *checked.plan;
  all.push_back({"manifest", health::good,
                 std::string(file) + ": " + plan.cluster + ", " +
                     std::to_string(plan.nodes.size()) + " nodes",
                 ""});
  all.push_back(
      {"model", health::good, plan.model.name + ", " + bytes_text(plan.model.file_bytes), ""});
  all.push_back(cores_of(plan, on));
  all.push_back(memory_of(plan));
  all.push_back(files_of(plan));
  all.push_back(disk_of("the state", plan.head.state_dir));
  add_ports(plan, all);
  return all;
}

}  // namespace collm::deploy
