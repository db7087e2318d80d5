#include "libs/log/direct_writes.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "libs/base/testing/temp_directory.h"

namespace falaj::log {
namespace {

TEST(TakesDirectWritesTest, LeavesNothingBehind) {
  const TempDirectory directory;
  TakesDirectWrites(directory.path());  // Either answer: it depends on the file system.
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(TakesDirectWritesTest, NoWhereNoFileCanBeMade) {
  const TempDirectory directory;
  EXPECT_FALSE(TakesDirectWrites(directory.path() + "/missing"));
  // Of files that are no files.
  EXPECT_FALSE(TakesDirectWrites("/proc/self"));
}

}  // namespace
}  // namespace falaj::log
