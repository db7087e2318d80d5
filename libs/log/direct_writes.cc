#include "libs/log/direct_writes.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "libs/base/log.h"

namespace falaj::log {

bool TakesDirectWrites(const std::string& directory) {
  constexpr size_t kBlock = 4096;
  alignas(kBlock) static constexpr std::array<char, kBlock> kZeros = {};
  const std::string path = directory + "/direct-write-probe";
  const int file = open(path.c_str(), O_CREAT | O_WRONLY | O_DIRECT | O_CLOEXEC, 0600);
  const ssize_t written = file >= 0 ? write(file, kZeros.data(), kBlock) : -1;
  const int error = written < 0 ? errno : ENOSPC;  // If it is cut short.
  const bool taken = written == ssize_t{kBlock};
  if (file >= 0) close(file);
  unlink(path.c_str());  // It may have been made although it could not be opened.
  if (!taken && error != EINVAL && error != EOPNOTSUPP) {
    Warning("cannot tell whether the disk takes direct writes; tables go through the page cache",
            {{"directory", directory}, {"error", std::strerror(error)}});
  }
  return taken;
}

}  // namespace falaj::log
