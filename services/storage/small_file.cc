#include "services/storage/small_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>
#include <system_error>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::storage {
namespace {

absl::Status WriteAndSync(const std::string& path, absl::string_view text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return FileFailed("cannot create", path);
  const absl::Cleanup close_fd = [fd] { ::close(fd); };
  if (::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return FileFailed("cannot write", path);
  }
  return ::fsync(fd) == 0 ? absl::OkStatus() : FileFailed("cannot sync", path);
}

}  // namespace

absl::Status FileFailed(absl::string_view what, const std::string& path) {
  return MakeError(Reason::kStorageFailed,
                   absl::StrCat(what, " ", path, ": ", std::generic_category().message(errno)),
                   {{"path", path}});
}

std::optional<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

absl::Status SyncDirectory(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return FileFailed("cannot open", path);
  const absl::Cleanup close_fd = [fd] { ::close(fd); };
  return ::fsync(fd) == 0 ? absl::OkStatus() : FileFailed("cannot sync", path);
}

absl::Status ReplaceFile(const std::string& directory, const std::string& name,
                         absl::string_view text) {
  const std::string path = absl::StrCat(directory, "/", name);
  FALAJ_RETURN_IF_ERROR(WriteAndSync(path + ".new", text));
  if (::rename((path + ".new").c_str(), path.c_str()) != 0)
    return FileFailed("cannot rename", path);
  return SyncDirectory(directory);
}

}  // namespace falaj::storage
