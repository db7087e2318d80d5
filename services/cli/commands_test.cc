// Commands as they are typed, against a real cluster of three storage nodes in this process: what
// they print, what they change, and their exit codes.
#include "services/cli/commands.h"

#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/testing/temp_directory.h"
#include "libs/client/admin.h"
#include "libs/http/testing/scrape.h"
#include "libs/record/batch_builder.h"
#include "services/cli/captured.h"
#include "services/cli/dev_cluster_fixture.h"

namespace falaj::cli {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

constexpr absl::Duration kLong = absl::Seconds(20);

class ContextTest : public testing::Test {
 protected:
  ContextTest() {
    setenv("XDG_CONFIG_HOME", directory_.PathOf("config").c_str(), 1);
    unsetenv("FALAJ_ADDRESS");
    unsetenv("FALAJ_CONTEXT");
  }
  ~ContextTest() override { unsetenv("XDG_CONFIG_HOME"); }

  static Outcome Context(const std::string& action, const std::string& name = "",
                         const std::string& address = "") {
    ContextOptions options;
    options.action = action;
    options.name = name;
    options.address = address;
    options.output = OutputMode::kTsv;
    return Capture(RunContext, options);
  }

  TempDirectory directory_;
};

TEST_F(ContextTest, NamesAreAddedUsedLeftAndRemoved) {
  EXPECT_THAT(Context("list").rows(), SizeIs(0));
  EXPECT_EQ(Context("show").code, ExitCode::kFailed) << "there is none";
  EXPECT_EQ(Context("add", "prod", "gateway.example:7400").code, ExitCode::kOk);
  EXPECT_EQ(Context("add", "dev", "127.0.0.1:1").code, ExitCode::kOk);
  EXPECT_THAT(Context("list").rows(),
              ElementsAre("\tdev\t127.0.0.1:1\t", "*\tprod\tgateway.example:7400\t"));
  EXPECT_THAT(Context("use", "dev").err, HasSubstr("Using context dev (127.0.0.1:1)"));
  EXPECT_THAT(Context("show").rows(), ElementsAre("*\tdev\t127.0.0.1:1\t"));
  EXPECT_THAT(Context("show", "prod").rows(), ElementsAre("\tprod\tgateway.example:7400\t"));
  EXPECT_THAT(Context("previous").err, HasSubstr("Using context prod"));
  EXPECT_THAT(Context("previous").err, HasSubstr("Using context dev"));
  EXPECT_EQ(Context("remove", "dev").code, ExitCode::kOk);
  EXPECT_EQ(Context("show").code, ExitCode::kFailed) << "the current one is gone";
  EXPECT_THAT(Context("list").rows(), ElementsAre("\tprod\tgateway.example:7400\t"));
}

TEST_F(ContextTest, WhatIsNotThereIsAMistakeOfWhoTypedIt) {
  const Outcome previous = Context("previous");
  EXPECT_EQ(previous.code, ExitCode::kUsage);
  EXPECT_THAT(previous.err, HasSubstr("no context before"));
  for (const char* action : {"use", "remove"}) {
    const Outcome outcome = Context(action, "nowhere");
    EXPECT_EQ(outcome.code, ExitCode::kUsage) << action;
    EXPECT_THAT(outcome.err, HasSubstr("nowhere")) << action;
  }
  TopicOptions topics;
  topics.action = "list";
  topics.common.context = "nowhere";
  EXPECT_EQ(Capture(RunTopic, topics).code, ExitCode::kUsage);
}

class CommandsTest : public DevClusterFixture {
 protected:
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(StartCluster(3)); }

  CommonOptions Common() const {
    CommonOptions common;
    common.address = cluster_.address();
    common.output = OutputMode::kTsv;
    return common;
  }
  ClusterOptions ClusterOf(const std::string& action) const {
    ClusterOptions options;
    options.common = Common();
    options.action = action;
    return options;
  }
  Outcome Cluster(const ClusterOptions& options) { return Capture(RunCluster, options); }
  Outcome Cluster(const std::string& action) { return Cluster(ClusterOf(action)); }
  TopicOptions TopicOf(const std::string& action, std::vector<std::string> names) const {
    TopicOptions options;
    options.common = Common();
    options.action = action;
    options.names = std::move(names);
    return options;
  }
  Outcome Topic(const std::string& action, std::vector<std::string> names) {
    return Capture(RunTopic, TopicOf(action, std::move(names)));
  }
  void CreateTopic(const std::string& name, int partitions, int replicas) {
    TopicOptions options = TopicOf("create", {name});
    options.partitions = partitions;
    options.replicas = replicas;
    const Outcome outcome = Capture(RunTopic, options);
    ASSERT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  }
  // Waits until `done` of the cluster, as a client sees it.
  bool Eventually(const std::function<bool(client::Admin*)>& done) {
    client::Admin admin({.address = cluster_.address(), .timeout = kLong});
    const absl::Time deadline = absl::Now() + kLong;
    while (absl::Now() < deadline) {
      if (done(&admin)) return true;
    }
    return false;
  }
  v1::Topic Describe(const std::string& name) {
    client::Admin admin({.address = cluster_.address(), .timeout = kLong});
    const auto topic = admin.GetTopic(name);
    EXPECT_TRUE(topic.ok()) << topic.status();
    return topic.ok() ? *topic : v1::Topic();
  }
};

TEST_F(CommandsTest, StatusHealthAndPartitionsTellOfALostNode) {
  CreateTopic("orders", 6, 1);
  CreateTopic("safe", 1, 3);
  EXPECT_THAT(Cluster("status").rows(),
              ElementsAre(MatchesRegex("[0-9a-f-]+\t[0-9]+\t3\t3\t2\t7\t0\t0\t0")));
  EXPECT_EQ(Cluster("health").code, ExitCode::kOk);
  EXPECT_THAT(Cluster("health").rows(), ElementsAre("ok\t"));
  EXPECT_THAT(Cluster("partitions").rows(), SizeIs(7));
  ClusterOptions leaderless = ClusterOf("partitions");
  leaderless.leaderless = true;
  EXPECT_THAT(Cluster(leaderless).rows(), SizeIs(0));

  cluster_.StopStorage(3);
  ASSERT_TRUE(Eventually([](client::Admin* admin) {
    const auto cluster = admin->GetCluster();
    return cluster.ok() && cluster->leaderless_partition_count() == 2 &&
           cluster->under_replicated_partition_count() >= 1;
  }));
  const Outcome health = Cluster("health");
  EXPECT_EQ(health.code, ExitCode::kFailed);
  EXPECT_THAT(health.rows(), ElementsAre("failing\t2 partitions have no leader"));
  EXPECT_THAT(Cluster("status").rows()[0], HasSubstr("\t3\t2\t2\t7\t2\t"));
  EXPECT_THAT(Cluster(leaderless).rows(), SizeIs(2));
  EXPECT_THAT(Cluster(leaderless).out, HasSubstr("orders\t"));
  ClusterOptions short_of = ClusterOf("partitions");
  short_of.under_replicated = true;
  EXPECT_THAT(Cluster(short_of).out, HasSubstr("safe\t0\t"));
}

TEST_F(CommandsTest, AnElectionThatPutsSomebodyElseInTheLeadIsPartlyDone) {
  CreateTopic("safe", 1, 3);
  ASSERT_TRUE(Eventually([&](client::Admin* admin) {
    const auto topic = admin->GetTopic("safe");
    return topic.ok() && topic->partitions(0).in_sync_replicas_size() == 3;
  }));
  const int32_t leader = Describe("safe").partitions(0).leader();
  const int32_t other = leader == 3 ? 2 : 3;
  ClusterOptions elect = ClusterOf("elect");
  elect.topic = "safe";
  elect.node = other;
  Outcome outcome = Cluster(elect);
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_EQ(Describe("safe").partitions(0).leader(), other);
  cluster_.StopStorage(other);
  ASSERT_TRUE(Eventually([&](client::Admin* admin) {
    const auto topic = admin->GetTopic("safe");
    return topic.ok() && topic->partitions(0).has_leader() &&
           topic->partitions(0).leader() != other &&
           topic->partitions(0).in_sync_replicas_size() == 2;
  }));
  outcome = Cluster(elect);
  EXPECT_EQ(outcome.code, ExitCode::kPartial) << outcome.err;
  EXPECT_THAT(outcome.rows(), SizeIs(1));
}

TEST_F(CommandsTest, AWatchPrintsWhatIsThereAndWhatChanges) {
  CreateTopic("orders", 2, 1);
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  std::thread watching([&] { RunCluster(ClusterOf("watch")); });
  const auto sent = [&] {
    const char series[] = R"(grpc_server_msg_sent_total{grpc_method="WatchCluster",)"
                          R"(grpc_service="falaj.v1.ClusterService",grpc_type="server_stream"})";
    return http::ScrapeMetric(cluster_.http_address(), series).value_or(0);
  };
  EXPECT_TRUE(Eventually([&](client::Admin* /*admin*/) { return sent() >= 1; }));
  client::Admin admin({.address = cluster_.address(), .timeout = kLong});
  v1::CreateTopicRequest request;
  request.set_name("later");
  EXPECT_TRUE(admin.CreateTopic(request).ok());
  EXPECT_TRUE(admin.DeleteTopic("later").ok());
  EXPECT_TRUE(Eventually([&](client::Admin* /*admin*/) { return sent() >= 3; }));
  cluster_.Stop();  // The watch ends when there is nobody left to ask.
  watching.join();
  const std::string out = testing::internal::GetCapturedStdout();
  testing::internal::GetCapturedStderr();
  EXPECT_THAT(out, HasSubstr("\tsnapshot\tnode\t1\tonline\n"));
  EXPECT_THAT(out, HasSubstr("\tsnapshot\ttopic\torders\t2/2 led\n"));
  EXPECT_THAT(out, HasSubstr("\tchange\ttopic\tlater\tdeleted\n"));
}

TEST_F(CommandsTest, APlanInAFileMovesPartitionsAndABadOneNothing) {
  CreateTopic("orders", 2, 1);
  const std::string path = directory_.PathOf("plan.json");
  std::ofstream(path) << R"({"partitions": [
      {"topic": "orders", "partition": 0, "replicas": [3]},
      {"topic": "orders", "partition": 1, "replicas": [2]}]})";
  ClusterOptions reassign = ClusterOf("reassign");
  reassign.file = path;
  reassign.wait = true;
  const Outcome outcome = Cluster(reassign);
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  const v1::Topic topic = Describe("orders");
  EXPECT_THAT(topic.partitions(0).replicas(), ElementsAre(3));
  EXPECT_THAT(topic.partitions(1).replicas(), ElementsAre(2));
  EXPECT_THAT(Cluster("reassignments").rows(), SizeIs(0));

  std::ofstream(path) << "{\"partition\": 1}";
  const Outcome malformed = Cluster(reassign);
  EXPECT_EQ(malformed.code, ExitCode::kUsage);
  EXPECT_THAT(malformed.err, HasSubstr("must be like"));
  reassign.topic = "orders";  // A file and a partition exclude each other.
  reassign.partitions = {0};
  reassign.replicas = {1};
  EXPECT_EQ(Cluster(reassign).code, ExitCode::kUsage);
  reassign.file = "";
  reassign.replicas = {1, 9};
  EXPECT_NE(Cluster(reassign).code, ExitCode::kOk) << "there is no node 9";
}

TEST_F(CommandsTest, ANodeIsDrainedAndUsedAgain) {
  CreateTopic("orders", 3, 1);
  ClusterOptions drain = ClusterOf("drain");
  drain.node = 2;
  drain.wait = true;
  const Outcome drained = Cluster(drain);
  EXPECT_EQ(drained.code, ExitCode::kOk) << drained.err;
  EXPECT_THAT(drained.rows()[0], StartsWith("2\tyes\t"));
  EXPECT_THAT(Cluster("nodes").rows()[1], AllOf(StartsWith("2\t"), HasSubstr("\t0\t0\tyes")));
  ClusterOptions undrain = ClusterOf("undrain");
  undrain.node = 2;
  EXPECT_THAT(Cluster(undrain).rows()[0], StartsWith("2\tno\t"));
  CreateTopic("more", 6, 1);
  EXPECT_THAT(Cluster("nodes").rows()[1], Not(HasSubstr("\t0\t0\t"))) << "it is used again";
  undrain.node = 9;
  EXPECT_EQ(Cluster(undrain).code, ExitCode::kFailed);
}

TEST_F(CommandsTest, OfSeveralTopicsThoseThatCanAreCreatedAndDeleted) {
  Outcome outcome = Topic("create", {"a", "no spaces", "b"});
  EXPECT_EQ(outcome.code, ExitCode::kPartial);
  EXPECT_THAT(outcome.rows(), ElementsAre(StartsWith("a\t"), StartsWith("b\t")));
  EXPECT_THAT(outcome.err, HasSubstr("INVALID_NAME"));
  outcome = Topic("delete", {"a", "missing", "b"});
  EXPECT_EQ(outcome.code, ExitCode::kPartial);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("Deleted a."), HasSubstr("TOPIC_NOT_FOUND"),
                                 HasSubstr("Deleted b.")));
  EXPECT_THAT(Topic("list", {}).rows(), SizeIs(0));
  EXPECT_EQ(Topic("delete", {"a"}).code, ExitCode::kFailed);
  EXPECT_EQ(Topic("create", {"c", "d"}).code, ExitCode::kOk);
  outcome = Topic("describe", {"c", "missing", "d"});
  EXPECT_EQ(outcome.code, ExitCode::kPartial);
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("\nc\t0\t"), HasSubstr("\nd\t0\t")));
  EXPECT_THAT(outcome.err, HasSubstr("TOPIC_NOT_FOUND"));
  EXPECT_EQ(Topic("describe", {"missing", "missed"}).code, ExitCode::kFailed);
  EXPECT_EQ(Topic("delete", {"c", "d"}).code, ExitCode::kOk);
}

TEST_F(CommandsTest, ASettingThatMakesNoSenseIsToldOnce) {
  TopicOptions create = TopicOf("create", {"a", "b", "c"});
  create.settings.retention = "nonsense";
  const Outcome outcome = Capture(RunTopic, create);
  EXPECT_EQ(outcome.code, ExitCode::kUsage);
  EXPECT_EQ(outcome.err.find("error: "), outcome.err.rfind("error: ")) << outcome.err;
  EXPECT_THAT(Topic("list", {}).rows(), SizeIs(0));
}

TEST_F(CommandsTest, ASettingReturnsToItsDefault) {
  CreateTopic("orders", 1, 1);
  TopicOptions update = TopicOf("update", {"orders"});
  update.settings.retention = "1h";
  update.settings.compression = "zstd";
  EXPECT_THAT(Capture(RunTopic, update).rows()[0], AllOf(HasSubstr("\t1h\t"), HasSubstr("zstd")));
  update.settings = {};
  update.unset = {"retention"};
  EXPECT_THAT(Capture(RunTopic, update).rows()[0], AllOf(HasSubstr("\t7d\t"), HasSubstr("zstd")));
  update.unset = {"colour"};
  const Outcome unknown = Capture(RunTopic, update);
  EXPECT_EQ(unknown.code, ExitCode::kUsage);
  EXPECT_THAT(unknown.err, HasSubstr("colour"));
}

TEST_F(CommandsTest, ATruncationThatOnlySomePartitionsCanFollowIsPartlyDone) {
  CreateTopic("orders", 2, 1);
  ProduceOptions produce;
  produce.common = Common();
  produce.topic = "orders";
  produce.partition = 0;
  produce.file = directory_.PathOf("lines");
  std::ofstream(produce.file) << "a\nb\nc\n";
  ASSERT_EQ(Capture(RunProduce, produce).code, ExitCode::kOk);
  TopicOptions truncate = TopicOf("truncate", {"orders"});
  truncate.before = "2";
  const Outcome outcome = Capture(RunTopic, truncate);
  EXPECT_EQ(outcome.code, ExitCode::kPartial);
  EXPECT_THAT(outcome.rows(), ElementsAre("orders\t0\t2\t", HasSubstr("OFFSET_OUT_OF_RANGE")));
}

TEST_F(CommandsTest, RecordsBeforeABadLineAreDeliveredAllTheSame) {
  CreateTopic("orders", 1, 1);
  ProduceOptions produce;
  produce.common = Common();
  produce.topic = "orders";
  produce.format = "%k;%s";
  produce.file = directory_.PathOf("lines");
  std::ofstream(produce.file) << "k1;v1\nno separator\n";
  const Outcome outcome = Capture(RunProduce, produce);
  EXPECT_EQ(outcome.code, ExitCode::kPartial);
  EXPECT_THAT(outcome.err, HasSubstr("1 of 1 records"));
}

TEST_F(CommandsTest, ABundleHoldsWhatCanBeHadAndNamesWhatCannot) {
  CreateTopic("orders", 2, 1);
  BundleOptions options;
  options.common = Common();
  options.directory = directory_.PathOf("bundle");
  options.http = {cluster_.storage_http_address(1)};
  const auto read = [&](const std::string& name) {
    std::ifstream file(absl::StrCat(options.directory, "/", name));
    return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  };
  Outcome outcome = Capture(RunBundle, options);
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_THAT(read("about.json"), HasSubstr("\"revision\":"));
  EXPECT_THAT(read("cluster.json"), HasSubstr("\"partition_count\":2"));
  EXPECT_THAT(read("topics.json"), HasSubstr("\"name\":\"orders\""));
  const std::string page = absl::StrReplaceAll(options.http[0], {{":", "-"}});
  EXPECT_THAT(read("metrics-" + page + ".txt"), HasSubstr("falaj_build_info"));
  EXPECT_EQ(read("missing.txt"), "");

  EXPECT_EQ(Capture(RunBundle, options).code, ExitCode::kUsage) << "it would mix two bundles";
  options.directory = directory_.PathOf("another");
  options.http = {"127.0.0.1:1", "no port"};
  outcome = Capture(RunBundle, options);
  EXPECT_EQ(outcome.code, ExitCode::kPartial);
  EXPECT_THAT(read("missing.txt"),
              AllOf(HasSubstr("metrics-127.0.0.1-1.txt: "), HasSubstr("is not host:port")));
  EXPECT_THAT(read("cluster.json"), HasSubstr("\"partition_count\":2"));
}

class DumpBatchTest : public testing::Test {
 protected:
  std::string Write(const std::string& batches) {
    const std::string path = directory_.PathOf("batches.bin");
    std::ofstream(path, std::ios::binary) << batches;
    return path;
  }
  static std::string Batch(int64_t base_offset, std::vector<std::string> values) {
    record::BatchBuilder builder;
    for (const std::string& value : values) builder.Add(1'700'000'000'000, "k", value);
    record::BatchBuilder::BuildOptions options;
    options.base_offset = Offset(base_offset);
    return builder.Build(options)->ToString();
  }
  static Outcome Dump(const std::string& path, bool records = false, int64_t limit = 0) {
    DebugOptions options;
    options.path = path;
    options.records = records;
    options.limit = limit;
    options.output = OutputMode::kTsv;
    return Capture(RunDebug, options);
  }
  TempDirectory directory_;
};

TEST_F(DumpBatchTest, BatchesOfAFileAreTakenApart) {
  const std::string path = Write(Batch(5, {"a", "b"}) + Batch(7, {"c"}));
  Outcome outcome = Dump(path);
  EXPECT_EQ(outcome.code, ExitCode::kOk) << outcome.err;
  EXPECT_THAT(outcome.rows(),
              ElementsAre(MatchesRegex("\t0\t5\t2\t.*\tok"), MatchesRegex("\t0\t7\t1\t.*\tok")));
  EXPECT_THAT(outcome.err, HasSubstr("2 batches, 3 records, 0 damaged"));
  EXPECT_THAT(Dump(path, false, 1).rows(), SizeIs(1));
  const std::vector<std::string> records =
      absl::StrSplit(Dump(path, true).out, '\n', absl::SkipEmpty());
  ASSERT_THAT(records, SizeIs(3));
  EXPECT_THAT(records[2], AllOf(HasSubstr("\"offset\":7"), HasSubstr("\"payload\":\"c\"")));
}

TEST_F(DumpBatchTest, DamageIsShownAndFails) {
  std::string batch = Batch(0, {"a", "b"});
  char& last = batch[batch.size() - 2];
  last = static_cast<char>(last ^ 1);
  const Outcome outcome = Dump(Write(batch));
  EXPECT_EQ(outcome.code, ExitCode::kFailed);
  EXPECT_THAT(outcome.out, HasSubstr("WRONG"));
  EXPECT_THAT(outcome.err, HasSubstr("1 damaged"));
  EXPECT_NE(Dump(Write("no batch at all")).code, ExitCode::kOk);
  EXPECT_EQ(Dump(directory_.PathOf("nothing")).code, ExitCode::kUsage);
}

}  // namespace
}  // namespace falaj::cli
