// TempDirectory is a directory of a test's own, empty at first, removed with everything in it at
// the end. Its name is drawn: process ids come back, and what an old test has left must not be
// found.
#ifndef LIBS_BASE_TESTING_TEMP_DIRECTORY_H_
#define LIBS_BASE_TESTING_TEMP_DIRECTORY_H_

#include <filesystem>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

#include "libs/base/random.h"

namespace falaj {

class TempDirectory {
 public:
  TempDirectory() {
    Random random = Random::FromSystem();
    path_ = absl::StrCat(testing::TempDir(), "/falaj-", random.NextUuid().ToString());
    std::filesystem::create_directories(path_);
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  ~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  // Of something in it, that need not exist.
  std::string PathOf(absl::string_view name) const { return absl::StrCat(path_, "/", name); }

 private:
  std::string path_;
};

}  // namespace falaj

#endif  // LIBS_BASE_TESTING_TEMP_DIRECTORY_H_
