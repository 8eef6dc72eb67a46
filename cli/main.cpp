// `collm`: the one binary.
#include <malloc.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "cli/memory_reserve.hpp"
#include "cli/verbs.hpp"

int main(int argc, char** argv) {
  // Factors and their sums, megabytes each, come and go on many threads: as mappings of their own
  // they go back to the system, in the threads' arenas they would stay.
  ::mallopt(M_MMAP_THRESHOLD, 1 << 20);
  const collm::cli::memory_reserve reserve;
  const bool colours =
      ::isatty(STDOUT_FILENO) && ::isatty(STDERR_FILENO) && std::getenv("NO_COLOR") == nullptr;
  collm::cli::console io(std::cout, std::cerr, colours);
  std::error_code failed;
  const auto executable = std::filesystem::read_symlink("/proc/self/exe", failed);
  return collm::cli::run(argc, argv, io, failed ? std::filesystem::absolute(argv[0]) : executable);
}
