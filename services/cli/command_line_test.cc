#include "services/cli/command_line.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace falaj::cli {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::StartsWith;

struct Outcome {
  ExitCode code = ExitCode::kOk;
  std::string out;
};

Outcome Falaj(std::vector<std::string> words) {
  std::vector<const char*> argv = {"falaj"};
  for (const std::string& word : words) argv.push_back(word.c_str());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Outcome outcome;
  outcome.code = RunCommandLine(static_cast<int>(argv.size()), argv.data());
  outcome.out = testing::internal::GetCapturedStdout();
  testing::internal::GetCapturedStderr();
  return outcome;
}

std::string Help(std::vector<std::string> words) {
  words.push_back("--help");
  const Outcome outcome = Falaj(words);
  EXPECT_EQ(outcome.code, ExitCode::kOk);
  return outcome.out;
}

// The names under "Subcommands:" in a help text.
std::vector<std::string> SubcommandsIn(const std::string& help) {
  std::vector<std::string> names;
  bool listed = false;
  for (absl::string_view line : absl::StrSplit(help, '\n')) {
    if (listed && !absl::StartsWith(line, "  ")) break;
    if (listed && !absl::StartsWith(line, "   ")) {
      names.emplace_back(*absl::StrSplit(line, ' ', absl::SkipEmpty()).begin());
    }
    listed = listed || line == "Subcommands:";
  }
  return names;
}

// Every command that can run, at any depth.
void CollectLeaves(const std::vector<std::string>& words,
                   std::vector<std::vector<std::string>>* leaves) {
  const std::vector<std::string> subcommands = SubcommandsIn(Help(words));
  if (subcommands.empty()) leaves->push_back(words);
  for (const std::string& name : subcommands) {
    std::vector<std::string> longer = words;
    longer.push_back(name);
    CollectLeaves(longer, leaves);
  }
}

TEST(CommandLineTest, TheHelpOfEveryCommandEndsWithExamplesOfIt) {
  std::vector<std::vector<std::string>> leaves;
  CollectLeaves({}, &leaves);
  EXPECT_GT(leaves.size(), 40u);
  EXPECT_THAT(leaves, Contains(std::vector<std::string>{"metadata", "members", "add"}));
  for (const std::vector<std::string>& words : leaves) {
    const std::string command = absl::StrJoin(words, " ");
    const std::string help = Help(words);
    const size_t examples = help.find("Examples:");
    ASSERT_NE(examples, std::string::npos) << command;
    EXPECT_THAT(help.substr(examples), HasSubstr("falaj " + command)) << command;
  }
}

TEST(CommandLineTest, MistakesAreTold) {
  EXPECT_EQ(Falaj({}).code, ExitCode::kUsage);
  EXPECT_EQ(Falaj({"topic"}).code, ExitCode::kUsage);
  EXPECT_EQ(Falaj({"topic", "crate", "orders"}).code, ExitCode::kUsage);
  EXPECT_EQ(Falaj({"topic", "create"}).code, ExitCode::kUsage);
  EXPECT_EQ(Falaj({"cluster", "reassign", "--file", "/nowhere"}).code, ExitCode::kUsage);
  EXPECT_EQ(Falaj({"cluster", "elect", "--all", "orders"}).code, ExitCode::kUsage);
  EXPECT_EQ(Falaj({"cluster", "elect", "--all", "-p", "0"}).code, ExitCode::kUsage);
  EXPECT_EQ(Falaj({"cluster", "elect", "--all", "--node", "2"}).code, ExitCode::kUsage);
}

TEST(CommandLineTest, TheVersionNamesTheRevision) {
  EXPECT_THAT(Falaj({"version"}).out, StartsWith("falaj 0."));
  EXPECT_EQ(Falaj({"version"}).out, Falaj({"--version"}).out);
}

}  // namespace
}  // namespace falaj::cli
