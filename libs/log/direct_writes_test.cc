#include "libs/log/direct_writes.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "libs/base/testing/temp_directory.h"

namespace falaj::log {
namespace {

// By the system's own tool, so that a wrong answer is noticed on whatever file system this is.
bool DdWritesDirectly(const std::string& directory) {
  const std::string command =
      "dd if=/dev/zero of='" + directory + "/dd' oflag=direct bs=4096 count=1 2>/dev/null";
  const bool written = std::system(command.c_str()) == 0;  // NOLINT(concurrency-mt-unsafe)
  std::filesystem::remove(directory + "/dd");
  return written;
}

TEST(TakesDirectWritesTest, IsWhatTheFileSystemDoes) {
  const TempDirectory directory;
  EXPECT_EQ(TakesDirectWrites(directory.path()), DdWritesDirectly(directory.path()));
  EXPECT_TRUE(std::filesystem::is_empty(directory.path())) << "and leaves nothing behind";
}

TEST(TakesDirectWritesTest, NoWhereNoFileCanBeMade) {
  const TempDirectory directory;
  EXPECT_FALSE(TakesDirectWrites(directory.path() + "/missing"));
  // Of files that are no files.
  EXPECT_FALSE(TakesDirectWrites("/proc/self"));
}

}  // namespace
}  // namespace falaj::log
