// Every workload of `falaj bench`, in small, against a real cluster in this process, and what its
// JSON says.
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "libs/client/admin.h"
#include "libs/telemetry/process_metrics.h"
#include "services/cli/commands.h"
#include "services/cli/dev_cluster_fixture.h"

namespace falaj::cli {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::SizeIs;
using testing::StartsWith;

class BenchWorkloadTest : public DevClusterFixture {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(StartCluster(2));
    options_.common.address = cluster_.address();
    options_.records = 400;
    options_.partitions = 3;
    options_.durability = "os";
    options_.json = directory_.PathOf("result.json");
  }

  // Runs a workload that must find nothing wrong, and returns what it writes down.
  json Run(const std::string& workload) {
    options_.workload = workload;
    testing::internal::CaptureStdout();
    EXPECT_EQ(RunBench(options_), ExitCode::kOk);
    const std::string text = testing::internal::GetCapturedStdout();
    EXPECT_THAT(text, testing::HasSubstr(": ok"));
    std::ifstream file(options_.json);
    json result = json::parse(file, nullptr, false);
    EXPECT_TRUE(result.is_object());
    EXPECT_EQ(result["version"], std::string(telemetry::BuildVersion()));
    EXPECT_EQ(result["revision"], std::string(telemetry::BuildRevision()));
    EXPECT_TRUE(result["machine"].is_object());
    EXPECT_EQ(result["configuration"]["workload"], workload);
    EXPECT_EQ(result["configuration"]["storage_nodes"], 2);
    EXPECT_EQ(result["check"]["lost"], 0);
    EXPECT_EQ(result["check"]["duplicates"], 0);
    EXPECT_EQ(result["check"]["out_of_order"], 0);
    EXPECT_EQ(result["check"]["acknowledged"], result["check"]["received"]);
    return result;
  }
  static std::vector<std::string> PhasesOf(const json& result) {
    std::vector<std::string> names;
    for (const json& phase : result["phases"]) names.push_back(phase["name"]);
    return names;
  }

  BenchOptions options_;
};

TEST_F(BenchWorkloadTest, ProduceFindsThePeakThenMeasuresAtHalfOfIt) {
  const json result = Run("produce");
  EXPECT_THAT(PhasesOf(result), ElementsAre("peak", "half", "read back"));
  EXPECT_EQ(result["phases"][0]["produce"]["delivered"], 400);
  EXPECT_EQ(result["phases"][1]["produce"]["delivered"], 400);
  EXPECT_GT(result["phases"][1]["rate"], 0);
  EXPECT_EQ(result["phases"][1]["produce"]["from_intended"]["count"], 399)
      << "the one that opens the stream does not count";
  EXPECT_EQ(result["phases"][2]["consume"]["records"], 800);
  EXPECT_THAT(std::string(result["configuration"]["topic"]), StartsWith("bench-"));
  client::Admin admin({.address = cluster_.address()});
  EXPECT_THAT(*admin.ListTopics(false), SizeIs(0)) << "the topic made for the run is gone";
}

TEST_F(BenchWorkloadTest, AClosedLoopHasOnePhaseAndWaitsForEachAnswer) {
  options_.closed = true;
  options_.records = 100;
  const json result = Run("produce");
  EXPECT_THAT(PhasesOf(result), ElementsAre("peak", "read back"));
  EXPECT_EQ(result["configuration"]["closed"], true);
  EXPECT_EQ(result["phases"][0]["produce"]["from_sent"]["count"], 99);
}

TEST_F(BenchWorkloadTest, RecordsThatOnlyOpenTheWayAreDeliveredAndNotMeasured) {
  options_.producers = 2;
  options_.records = 3;
  options_.rate = 1000;
  const json result = Run("produce");
  const json& produced = result["phases"][0]["produce"];
  EXPECT_EQ(produced["delivered"], 3);
  EXPECT_EQ(produced["from_intended"]["count"], 1);
  options_.records = 1;
  EXPECT_EQ(Run("produce")["phases"][0]["produce"]["from_intended"]["count"], 0);
}

TEST_F(BenchWorkloadTest, ConsumeReadsWhatItHasFilledIn) {
  const json result = Run("consume");
  EXPECT_THAT(PhasesOf(result), ElementsAre("fill", "consume"));
  EXPECT_EQ(result["phases"][1]["consume"]["records"], 400);
  EXPECT_GT(result["phases"][1]["consume_mb_per_second"], 0);
}

TEST_F(BenchWorkloadTest, EndToEndMeasuresFromWhenARecordWasDue) {
  options_.rate = 2000;
  options_.consumers = 2;
  const json result = Run("end-to-end");
  EXPECT_THAT(PhasesOf(result), ElementsAre("end to end"));
  EXPECT_EQ(result["phases"][0]["consume"]["end_to_end"]["count"], 399);
}

TEST_F(BenchWorkloadTest, ABacklogIsDrainedWhileMoreComes) {
  const json result = Run("backlog");
  EXPECT_THAT(PhasesOf(result), ElementsAre("fill", "drain"));
  EXPECT_EQ(result["check"]["received"], 800);
}

TEST_F(BenchWorkloadTest, ManyPartitionsAreManyUnlessAskedOtherwise) {
  options_.rate = 4000;
  options_.partitions = 100;
  const json result = Run("many-partitions");
  EXPECT_THAT(PhasesOf(result), ElementsAre("paced", "read back"));
  EXPECT_EQ(result["configuration"]["partitions"], 100);
}

TEST_F(BenchWorkloadTest, ATopicThatIsNamedIsUsedAndKept) {
  client::Admin admin({.address = cluster_.address()});
  v1::CreateTopicRequest request;
  request.set_name("mine");
  request.set_partition_count(2);
  ASSERT_TRUE(admin.CreateTopic(request).ok());
  options_.topic = "mine";
  options_.rate = 4000;
  const json result = Run("produce");
  EXPECT_EQ(result["configuration"]["topic"], "mine");
  EXPECT_EQ(result["configuration"]["partitions"], 2);
  EXPECT_TRUE(admin.GetTopic("mine").ok());
}

TEST_F(BenchWorkloadTest, LinesOfAFileGoInAsTheyAre) {
  options_.input = directory_.PathOf("lines.tsv");
  options_.records = 0;
  options_.producers = 2;
  {
    std::ofstream lines(options_.input);
    for (int i = 0; i < 300; ++i) lines << "key-" << i % 7 << "\tvalue " << i << "\n";
    lines << "\tno key\n";
  }
  options_.keep_topic = true;
  const json result = Run("end-to-end");
  EXPECT_EQ(result["check"]["received"], 301);
  EXPECT_EQ(result["configuration"]["input"], options_.input);
  ConsumeOptions consume;
  consume.common.address = cluster_.address();
  consume.topics = {std::string(result["configuration"]["topic"])};
  consume.offset = "start";
  consume.format = R"(%k|%s\n)";
  consume.exit_at_end = true;
  consume.quiet = true;
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunConsume(consume), ExitCode::kOk);
  const std::string text = testing::internal::GetCapturedStdout();
  EXPECT_THAT(text, testing::HasSubstr("key-3|value 3\n"));
  EXPECT_THAT(text, testing::HasSubstr("|no key\n"));
}

}  // namespace
}  // namespace falaj::cli
