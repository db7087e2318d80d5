// The command and the client against a real cluster in this process.
#include "services/cli/dev_cluster.h"

#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "libs/base/testing/temp_directory.h"
#include "libs/client/admin.h"
#include "libs/client/consumer.h"
#include "libs/client/coordination.h"
#include "libs/client/coordination_session.h"
#include "libs/client/election.h"
#include "libs/client/producer.h"
#include "services/cli/commands.h"

namespace falaj::cli {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
using testing::StartsWith;

constexpr absl::Duration kLong = absl::Seconds(20);

class DevClusterTest : public testing::Test {
 protected:
  void SetUp() override {
    log::Configure(
        {.format = log::Format::kText, .level_min = log::Level::kError, .component = "test"});
    options_.data = directory_.PathOf("data");
    options_.port = 0;
    options_.http_port = 0;
    Start();
  }
  void TearDown() override { cluster_.Stop(); }
  void Start() {
    const absl::Status status = cluster_.Start(options_);
    ASSERT_TRUE(status.ok()) << status;
  }
  CommonOptions Common(OutputMode mode = OutputMode::kTsv) const {
    CommonOptions common;
    common.address = cluster_.address();
    common.output = mode;
    return common;
  }
  void CreateTopic(const std::string& name, int partitions) {
    client::Admin admin({.address = cluster_.address(), .timeout = kLong});
    v1::CreateTopicRequest request;
    request.set_name(name);
    request.set_partition_count(partitions);
    ASSERT_TRUE(admin.CreateTopic(request).ok());
  }
  // Sends values first..last-1 keyed by their last digit and expects every one delivered.
  void Produce(const std::string& topic, int first, int last) {
    client::ProducerOptions options;
    options.address = cluster_.address();
    auto producer = *client::Producer::Create(options);
    std::vector<std::future<client::Delivery>> deliveries;
    for (int i = first; i < last; ++i) {
      record::Record record;
      record.key = absl::StrCat("key-", i % 10);
      record.value = absl::StrCat(i);
      record.timestamp_ms = 1'700'000'000'000 + i;
      deliveries.push_back(producer->Send(topic, record));
    }
    for (auto& delivery : deliveries) {
      const client::Delivery result = delivery.get();
      EXPECT_TRUE(result.status.ok()) << result.status;
    }
  }
  static ConsumeOptions From(const std::string& offset) {
    ConsumeOptions options;
    options.topics = {"orders"};
    options.offset = offset;
    return options;
  }
  static ConsumeOptions FromStart(const std::string& format) {
    ConsumeOptions options = From("start");
    options.format = format;
    return options;
  }
  std::string Consume(ConsumeOptions options) {
    options.common = Common();
    options.exit_at_end = true;
    options.quiet = true;
    testing::internal::CaptureStdout();
    EXPECT_EQ(RunConsume(options), ExitCode::kOk);
    return testing::internal::GetCapturedStdout();
  }

  // What a command for topics, that succeeds, prints.
  std::string Topic(const std::string& action, TopicOptions options) {
    options.common = Common();
    options.action = action;
    testing::internal::CaptureStdout();
    EXPECT_EQ(RunTopic(options), ExitCode::kOk);
    return testing::internal::GetCapturedStdout();
  }

  std::string ClusterId() {
    client::Admin admin({.address = cluster_.address(), .timeout = kLong});
    const auto cluster = admin.GetCluster();
    return cluster.ok() ? cluster->cluster_id() : cluster.status().ToString();
  }

  TempDirectory directory_;
  DevOptions options_;
  DevCluster cluster_;
};

TEST_F(DevClusterTest, AQuorumOfThreeMetadataNodesKeepsItsTopicsOverARestart) {
  cluster_.Stop();
  std::filesystem::remove_all(options_.data);
  options_.metadata = 3;
  Start();
  CreateTopic("flights", 2);
  const std::string id = ClusterId();
  cluster_.Stop();
  Start();  // On new ports.
  client::Admin admin({.address = cluster_.address(), .timeout = kLong});
  EXPECT_TRUE(admin.GetTopic("flights").ok());
  EXPECT_EQ(id, ClusterId());
  cluster_.Stop();
  std::filesystem::remove_all(options_.data);
  Start();
  EXPECT_NE(id, ClusterId()) << "another cluster, though its nodes have the same names";
}

TEST_F(DevClusterTest, WhatWentInComesOutAlsoAfterARestart) {
  CreateTopic("orders", 3);
  Produce("orders", 0, 500);
  cluster_.Stop();
  Start();
  Produce("orders", 500, 1000);
  const std::string text = Consume(FromStart(R"(%p\t%o\t%k\t%s\n)"));
  std::map<std::string, int> next;          // By partition.
  std::map<std::string, std::string> home;  // Partition of a key.
  std::map<std::string, int> last_value;    // By key.
  int records = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> field = absl::StrSplit(line, '\t');
    EXPECT_EQ(field[1], absl::StrCat(next[field[0]]++));
    EXPECT_EQ(home.try_emplace(field[2], field[0]).first->second, field[0]);
    const auto [value, first] = last_value.try_emplace(field[2], std::stoi(field[3]));
    if (!first) {
      EXPECT_EQ(std::stoi(field[3]), value->second + 10);
    }
    value->second = std::stoi(field[3]);
    ++records;
  }
  EXPECT_EQ(records, 1000);
}

TEST_F(DevClusterTest, RangesTimesAndFiltersSelectRecords) {
  CreateTopic("orders", 1);
  Produce("orders", 0, 100);
  EXPECT_EQ(Consume(From("5:8")), "5\n6\n7\n");
  EXPECT_EQ(Consume(From("-2")), "98\n99\n");
  EXPECT_EQ(Consume(From("@1700000000097")), "97\n98\n99\n");
  ConsumeOptions two = From("start");
  two.count = 2;
  EXPECT_EQ(Consume(two), "0\n1\n");
  ConsumeOptions filtered = From("start");
  filtered.grep = "^4[24]$";
  EXPECT_EQ(Consume(filtered), "42\n44\n");
  ConsumeOptions meta = From("99");
  meta.meta_only = true;
  EXPECT_EQ(Consume(meta), "orders\t0\t99\t1700000000099\t5\t2\n");
  ConsumeOptions json = From("-1");
  json.json = true;
  EXPECT_THAT(Consume(json), StartsWith(R"({"topic":"orders","partition":0,"offset":99,)"));
}

TEST_F(DevClusterTest, ProduceReadsKeysAndNulls) {
  CreateTopic("orders", 1);
  const std::string path = options_.data + "/lines";
  std::ofstream(path) << "k\tv\n\tno key\nkey only\t\nplain\n";
  ProduceOptions options;
  options.common = Common();
  options.topic = "orders";
  options.file = path;
  options.key_delimiter = "\\t";
  options.empty_is_null = true;
  options.headers = {"source=test"};
  options.quiet = true;
  EXPECT_EQ(RunProduce(options), ExitCode::kOk);
  EXPECT_EQ(Consume(FromStart(R"(%K|%k|%S|%s|%h\n)")),
            "1|k|1|v|source=test\n"
            "-1||6|no key|source=test\n"
            "8|key only|-1||source=test\n"
            "-1||5|plain|source=test\n");
}

TEST_F(DevClusterTest, TopicsAreDescribedInTsvAndJson) {
  CreateTopic("orders", 2);
  Produce("orders", 0, 10);
  TopicOptions options;
  options.common = Common();
  options.action = "describe";
  options.names = {"orders"};
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunTopic(options), ExitCode::kOk);
  const std::string tsv = testing::internal::GetCapturedStdout();
  EXPECT_THAT(tsv, StartsWith("TOPIC\tPARTITION\tLEADER\tEPOCH\tREPLICAS\tIN-SYNC\tSTART\tEND\t"
                              "RECORDS\tERROR\tELIGIBLE\tLAST-LEADER\norders\t0\t1\t"));
  options.common = Common(OutputMode::kJson);
  options.action = "list";
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunTopic(options), ExitCode::kOk);
  EXPECT_THAT(testing::internal::GetCapturedStdout(),
              StartsWith(R"({"name":"orders","partitions":2,"replicas":1,"retention":"7d",)"));
}

TEST_F(DevClusterTest, TopicsLoseTheirOldestRecordsAndGetMorePartitions) {
  CreateTopic("orders", 2);
  Produce("orders", 0, 100);
  const std::string before = Consume(FromStart(R"(%p:%o\n)"));
  ASSERT_THAT(before, HasSubstr("0:4\n"));
  TopicOptions options;
  options.names = {"orders"};
  options.before = "5";
  options.only_partitions = {0};
  EXPECT_THAT(Topic("truncate", options), HasSubstr("5"));
  const std::string after = Consume(FromStart(R"(%p:%o\n)"));
  EXPECT_THAT(after, Not(HasSubstr("0:4\n")));
  EXPECT_THAT(after, HasSubstr("0:5\n"));
  EXPECT_THAT(after, HasSubstr("1:0\n")) << "the other partition keeps all";
  options.before = "end";
  options.only_partitions.clear();
  Topic("truncate", options);
  EXPECT_EQ(Consume(From("start")), "");

  options.partitions = 5;
  EXPECT_THAT(Topic("add-partitions", options), HasSubstr("orders\t5\t"));
  Produce("orders", 0, 100);
  EXPECT_THAT(Consume(FromStart(R"(%p\n)")), Not(MatchesRegex("[01\n]*"))) << "new ones are used";
  options.partitions = 3;
  options.common = Common();
  options.action = "add-partitions";
  testing::internal::CaptureStderr();
  EXPECT_EQ(RunTopic(options), ExitCode::kUsage);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("INVALID_"));
}

TEST_F(DevClusterTest, TheStorageNodesThatLiveAreZnodes) {
  ZnodeOptions options;
  options.common = Common();
  options.action = "ls";
  options.path = "/falaj/nodes";
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunZnode(options), ExitCode::kOk);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "PATH\n/falaj/nodes/1\n");
}

TEST_F(DevClusterTest, ALockIsWaitedForAndHeldWhileTheCommandRuns) {
  client::Coordination tree({.address = cluster_.address(), .timeout = kLong});
  const auto session = client::CoordinationSession::Open(&tree, {});
  ASSERT_TRUE(session.ok()) << session.status();
  client::Election holder(session->get(), "/job");
  const auto held = holder.Campaign("", kLong);
  ASSERT_TRUE(held.ok()) << held.status();

  ZnodeOptions options;
  options.common = Common();
  options.action = "lock";
  options.path = "/job";
  const std::string token = directory_.PathOf("token");
  options.command = {"sh", "-c",
                     absl::StrCat("printf %s $FALAJ_FENCING_TOKEN > ", token, "; exit 3")};
  std::thread waiting([&] { EXPECT_EQ(static_cast<int>(RunZnode(options)), 3); });
  const absl::Time deadline = absl::Now() + kLong;
  size_t candidates = 0;
  while (candidates < 2 && absl::Now() < deadline) {
    candidates = tree.ListAllChildren("/job", {})->size();
  }
  EXPECT_EQ(candidates, 2u);
  EXPECT_FALSE(std::filesystem::exists(token)) << "somebody else has the lock";
  EXPECT_TRUE(holder.Resign().ok());
  waiting.join();
  std::ifstream file(token);
  uint64_t later = 0;
  file >> later;
  EXPECT_GT(later, held->fencing_token());
  EXPECT_EQ(tree.ListAllChildren("/job", {})->size(), 0u) << "and it is given back";
}

TEST_F(DevClusterTest, FailuresHaveTheirExitCodes) {
  ConsumeOptions consume;
  consume.common = Common();
  consume.topics = {"missing"};
  testing::internal::CaptureStderr();
  EXPECT_EQ(RunConsume(consume), ExitCode::kFailed);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("TOPIC_NOT_FOUND"));
  TopicOptions topic;
  topic.common = Common();
  topic.action = "create";
  topic.names = {"no spaces allowed"};
  testing::internal::CaptureStderr();
  EXPECT_EQ(RunTopic(topic), ExitCode::kUsage);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("INVALID_NAME"));
}

TEST_F(DevClusterTest, AnOffsetBelowTheLogStartSaysWhereTheLogIs) {
  CreateTopic("orders", 1);
  Produce("orders", 0, 100);
  client::Admin admin({.address = cluster_.address(), .timeout = kLong});
  v1::TruncateTopicRequest truncate;
  truncate.set_name("orders");
  truncate.add_truncations()->mutable_before()->set_offset(60);
  ASSERT_TRUE(admin.TruncateTopic(truncate).ok());
  client::ConsumerOptions options;
  options.address = cluster_.address();
  auto consumer = *client::Consumer::Create(
      options, {{"orders", PartitionIndex(0), client::AtOffset(Offset(5))}});
  const absl::StatusOr<client::RecordRun> run = consumer->Poll(kLong);
  ASSERT_EQ(ReasonOf(run.status()), Reason::kOffsetOutOfRange) << run.status();
  EXPECT_EQ(MetadataOf(run.status())["log_start_offset"], "60");
  EXPECT_EQ(MetadataOf(run.status())["high_watermark"], "100");
  ASSERT_TRUE(consumer->Seek("orders", PartitionIndex(0), client::AtStart()).ok());
  const absl::StatusOr<client::RecordRun> after = consumer->Poll(kLong);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(after->records().front().offset, Offset(60));
}

TEST_F(DevClusterTest, ABenchmarkFindsNothingLost) {
  BenchOptions options;
  options.common = Common();
  options.workload = "end-to-end";
  options.records = 500;
  options.rate = 2000;
  options.producers = 2;
  options.consumers = 2;
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunBench(options), ExitCode::kOk);
  EXPECT_THAT(testing::internal::GetCapturedStdout(),
              HasSubstr("received 500, lost 0, duplicates 0, out of order 0: ok"));
}

}  // namespace
}  // namespace falaj::cli
