// Small files of a storage node that are read whole, and replaced whole and durably.
#ifndef SERVICES_STORAGE_SMALL_FILE_H_
#define SERVICES_STORAGE_SMALL_FILE_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace falaj::storage {

// STORAGE_FAILED with what errno says.
absl::Status FileFailed(absl::string_view what, const std::string& path);
// nullopt: no such file.
std::optional<std::string> ReadFile(const std::string& path);
absl::Status SyncDirectory(const std::string& path);
// All of `text` is in the file, on disk, or the file is as it was.
absl::Status ReplaceFile(const std::string& directory, const std::string& name,
                         absl::string_view text);

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_SMALL_FILE_H_
