#include "libs/coordination/path_rules.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/coordination/limits.h"
#include "libs/record/utf8.h"

namespace falaj::coordination {
namespace {

bool Ok(absl::string_view path) { return ValidatePath(path).ok(); }
bool SequentialOk(absl::string_view path) { return ValidateSequentialPath(path).ok(); }

std::string Repeat(absl::string_view text, size_t times) {
  std::string all;
  for (size_t i = 0; i < times; ++i) absl::StrAppend(&all, text);
  return all;
}

TEST(PathRulesTest, TakesOrdinaryPaths) {
  for (const char* path : {"/", "/a", "/a/b", "/a b/c", "/.a/..b/...", "/\xc3\xa9",
                           "/\xf0\x9f\x90\xab", "/a\xc2\xa0z", "/falaj/nodes/1"}) {
    EXPECT_TRUE(Ok(path)) << path;
  }
}

TEST(PathRulesTest, RefusesWhatIsNoPath) {
  for (const char* path :
       {"", "a", "a/b", "//", "/a//b", "/a/", "/.", "/..", "/a/./b", "/a/../b", "/a/.."}) {
    EXPECT_EQ(ReasonOf(ValidatePath(path)), Reason::kInvalidPath) << path;
  }
}

TEST(PathRulesTest, RefusesControlCharacters) {
  for (int c = 0; c < 256; ++c) {
    const bool control = c < 0x20 || c == 0x7f;
    if (c < 0x80 && c != '/') {
      EXPECT_EQ(Ok(std::string("/a") + static_cast<char>(c) + "b"), !control) << c;
    }
    if (c >= 0x80 && c < 0xc0) {  // U+0080 to U+00BF: the first half is C1.
      EXPECT_EQ(Ok(std::string("/a\xc2") + static_cast<char>(c)), c >= 0xa0) << c;
    }
  }
}

TEST(PathRulesTest, RefusesWhatIsNotUtf8) {
  for (const char* path : {"/\xff", "/a\xc3", "/\xc0\xaf", "/\xed\xa0\x80", "/\xed\xbf\xbf",
                           "/\xf4\x90\x80\x80", "/\x80"}) {
    const absl::Status status = ValidatePath(path);
    EXPECT_EQ(ReasonOf(status), Reason::kInvalidPath);
    EXPECT_EQ(MetadataOf(status)["field"], "path");
    EXPECT_TRUE(record::IsUtf8(MetadataOf(status)["value"]));
    EXPECT_TRUE(record::IsUtf8(std::string(status.message())));
  }
}

TEST(PathRulesTest, BoundsNamesPathsAndDepth) {
  EXPECT_TRUE(Ok("/" + std::string(kNameSizeMax, 'n')));
  EXPECT_FALSE(Ok("/" + std::string(kNameSizeMax + 1, 'n')));
  EXPECT_TRUE(Ok(Repeat("/a", kPathNamesMax)));
  EXPECT_FALSE(Ok(Repeat("/a", kPathNamesMax + 1)));
  const std::string four = Repeat("/" + std::string(kNameSizeMax, 'n'), 4);
  ASSERT_EQ(four.size(), kPathSizeMax);
  EXPECT_TRUE(Ok(four));
  EXPECT_FALSE(Ok(four + "/n"));

  const absl::Status status = ValidatePath(four + "/n", "watches.path");
  EXPECT_EQ(MetadataOf(status)["field"], "watches.path");
  EXPECT_EQ(MetadataOf(status)["value"], "1026");
  EXPECT_EQ(MetadataOf(status)["limit"], "1024");
}

TEST(PathRulesTest, AnErrorDoesNotRepeatMegabytes) {
  const absl::Status status = ValidatePath(std::string(900, '\n'));
  EXPECT_LT(status.message().size(), 400u);
  EXPECT_LT(MetadataOf(status)["value"].size(), 300u);
}

TEST(PathRulesTest, ASequentialPathMayEndWithASlashAndNeedsRoom) {
  EXPECT_TRUE(SequentialOk("/"));
  EXPECT_TRUE(SequentialOk("/a/"));
  EXPECT_TRUE(SequentialOk("/a/job-"));
  EXPECT_FALSE(SequentialOk("//"));
  EXPECT_FALSE(SequentialOk("/a//"));
  EXPECT_TRUE(SequentialOk("/" + std::string(kNameSizeMax - 10, 'n')));
  EXPECT_FALSE(SequentialOk("/" + std::string(kNameSizeMax - 9, 'n')));
  const std::string three = Repeat("/" + std::string(kNameSizeMax, 'n'), 3);
  EXPECT_TRUE(SequentialOk(three + "/" + std::string(245, 'n')));
  EXPECT_FALSE(SequentialOk(Repeat("/a", kPathNamesMax) + "/"));
}

TEST(PathRulesTest, KnowsWhatIsReserved) {
  for (const char* path : {"/falaj", "/falaj/nodes", "/falaj/"}) EXPECT_TRUE(IsReserved(path));
  for (const char* path : {"/", "/fala", "/falaj2", "/a/falaj", "/falaj-x/nodes"}) {
    EXPECT_FALSE(IsReserved(path)) << path;
  }
  EXPECT_EQ(ReasonOf(CheckNotReserved("/falaj/x")), Reason::kPathReserved);
}

TEST(PathRulesTest, TakesPathsApart) {
  EXPECT_EQ(ParentOf("/a"), "/");
  EXPECT_EQ(ParentOf("/a/b/c"), "/a/b");
  EXPECT_EQ(NameOf("/a/b/c"), "c");
  EXPECT_EQ(NameOf("/"), "");
  EXPECT_EQ(JoinPath("/", "a"), "/a");
  EXPECT_EQ(JoinPath("/a", "b"), "/a/b");
  EXPECT_EQ(SequenceSuffix(42), "0000000042");
  EXPECT_EQ(SequenceSuffix(kSequenceMax), "9999999999");
  EXPECT_TRUE(IsCandidateName("candidate-0000000001"));
  for (const char* name : {"candidate-", "candidate-000000001", "candidate-00000000001",
                           "candidate-000000000x", "xandidate-0000000001"}) {
    EXPECT_FALSE(IsCandidateName(name)) << name;
  }
}

}  // namespace
}  // namespace falaj::coordination
