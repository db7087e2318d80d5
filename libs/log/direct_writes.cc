#include "libs/log/direct_writes.h"

#include <fcntl.h>
#include <unistd.h>

namespace falaj::log {

bool TakesDirectWrites(const std::string& directory) {
  const std::string path = directory + "/direct-write-probe";
  const int file = open(path.c_str(), O_CREAT | O_WRONLY | O_DIRECT | O_CLOEXEC, 0600);
  if (file >= 0) close(file);
  unlink(path.c_str());  // It may have been made although it could not be opened.
  return file >= 0;
}

}  // namespace falaj::log
