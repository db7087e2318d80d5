// Disks that fail under a storage node whose partitions others have, too.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "grpc/health/v1/health.grpc.pb.h"

#include "libs/log/faulty_file_system.h"
#include "services/storage/storage_server_fixture.h"

namespace falaj::storage {
namespace {

using Fault = log::FaultyFileSystem::Fault;

// A disk on which directories cannot be listed for a while.
class HangingListing final : public rocksdb::FileSystemWrapper {
 public:
  HangingListing() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "HangingListing"; }

  void Hang(bool hang) {
    hang_ = hang;
    hang_.notify_all();
  }
  bool hanging() const { return hanging_; }
  rocksdb::IOStatus GetChildren(const std::string& directory, const rocksdb::IOOptions& options,
                                std::vector<std::string>* result,
                                rocksdb::IODebugContext* debug) override {
    hanging_ = hang_.load();
    hang_.wait(true);
    return target()->GetChildren(directory, options, result, debug);
  }

 private:
  std::atomic<bool> hang_ = false;
  std::atomic<bool> hanging_ = false;
};

// Node 1 on a disk that fails on demand; with Start(), also node 2.
class FailedDiskTest : public StorageServerTest {
 protected:
  FailedDiskTest() : disk_(std::make_shared<log::FaultyFileSystem>()), env_(log::MakeEnv(disk_)) {}
  ~FailedDiskTest() override {
    disk_->Set(Fault::kNone);  // What hangs goes on.
    if (other_ != nullptr) other_->Stop();
    other_.reset();
    if (node_ != nullptr) node_->Stop();
    node_.reset();  // Before its environment.
    std::filesystem::remove_all(absl::StrCat(dir_, "_other"));
  }

  void StartOne() {
    StorageServer::Options options = Options();
    options.store_env = env_.get();
    options.disk_stall_max = stall_max_;
    options.scrub_period = scrub_period_;
    StartNode(options);
  }
  // A topic with one partition that node 1 leads and node 2 follows.
  void Start(int min_in_sync = 2) {
    StartOne();
    StorageServer::Options options = Options();
    options.node_id = 2;
    options.data_dir = absl::StrCat(dir_, "_other");
    options.disk_probe = [this](const std::string&) -> absl::StatusOr<log::DiskSpace> {
      return log::DiskSpace{int64_t{1000} << 30, free_bytes_of_other_.load()};
    };
    std::filesystem::remove_all(options.data_dir);
    auto other = StorageServer::Start(options);
    ASSERT_TRUE(other.ok()) << other.status();
    other_ = *std::move(other);
    ASSERT_TRUE(Eventually([&] { return other_->Ready(); }));
    TopicSettings settings;
    settings.set_fsync(true);
    settings.set_batch_bytes_max(1 << 20);
    settings.set_min_in_sync_replicas(min_in_sync);
    settings.set_compression(v1::COMPRESSION_NONE);
    topic_ = metadata_.CreateTopic("shared", 2, settings, 2);
    partition_ = topic_.partitions(0).leader() == 1 ? 0 : 1;
    ASSERT_TRUE(Eventually([&] { return !Latest(partition_).has_error(); }));
  }
  // A batch to be looked for, and others behind it that are in other blocks of a table: of those a
  // store that opens reads the last one.
  void AppendSome(int partition) {
    ASSERT_FALSE(Append(partition, Batch(3, "a value that is looked for")).has_error());
    for (int i = 0; i < 4; ++i) {
      ASSERT_FALSE(Append(partition, Batch(1, std::string(500'000, 'x'))).has_error());
    }
  }
  // A clean stop, and a start: what was written is in tables afterwards.
  void Restart(const std::function<void()>& between) {
    node_->Stop();
    node_.reset();
    between();
    StartOne();
  }
  void RestartOfTwo(const std::function<void()>& between) {
    Restart(between);
    ASSERT_TRUE(Eventually([&] { return Known().isr_size() == 2; }));
  }
  // Changes a byte of the tables of node 1 wherever it finds `text`. Returns how often.
  int Flip(const std::string& text) {
    int flipped = 0;
    for (const auto& file : std::filesystem::recursive_directory_iterator(dir_)) {
      if (file.path().extension() != ".sst") continue;
      std::fstream table(file.path(), std::ios::in | std::ios::out | std::ios::binary);
      const std::string bytes((std::istreambuf_iterator<char>(table)), {});
      for (size_t at = bytes.find(text); at != std::string::npos; at = bytes.find(text, at + 1)) {
        table.clear();
        table.seekp(static_cast<std::streamoff>(at));
        table.put('X');
        ++flipped;
      }
    }
    return flipped;
  }
  // Node 1 leads, and is asked from now on.
  void LeadByOne() {
    internal::v1::ClusterCommand command;
    command.mutable_elect_leaders()->set_topic("shared");
    command.mutable_elect_leaders()->add_partitions(partition_);
    command.mutable_elect_leaders()->set_node_id(1);
    ASSERT_TRUE(metadata_.Apply(command).ok());
    ASSERT_EQ(Known().leader(), 1);
    topic_ = metadata_.Topic("shared");
    stub_ = StorageService::NewStub(rpc::MakeChannel(node_->grpc_address()));
    ASSERT_TRUE(Eventually([&] { return !Latest(partition_).has_error(); }));
  }
  // What the health service says.
  bool Serves(const std::string& name) {
    const auto health = grpc::health::v1::Health::NewStub(rpc::MakeChannel(node_->grpc_address()));
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckRequest request;
    grpc::health::v1::HealthCheckResponse response;
    request.set_service(name);
    EXPECT_TRUE(health->Check(&context, request, &response).ok());
    return response.status() == grpc::health::v1::HealthCheckResponse::SERVING;
  }
  // Of node 1; -1: there is none.
  double Metric(const std::string& name) {
    return http::ScrapeMetric(node_->http_address(), name).value_or(-1);
  }
  internal::v1::PartitionState Known() { return metadata_.Topic("shared").partitions(partition_); }

  const std::shared_ptr<log::FaultyFileSystem> disk_;
  const std::unique_ptr<rocksdb::Env> env_;
  std::atomic<int64_t> free_bytes_of_other_ = int64_t{500} << 30;
  absl::Duration stall_max_ = kDiskStallMax;
  absl::Duration scrub_period_ = absl::Hours(1);
  std::unique_ptr<StorageServer> other_;
  int partition_ = 0;
};

TEST_F(FailedDiskTest, ANodeWhoseSyncFailsHandsOverAndLeavesTheCluster) {
  Start(/*min_in_sync=*/1);
  ASSERT_FALSE(Append(partition_, Batch(3)).has_error());
  const int64_t epoch = metadata_.Node(1).node_epoch();
  disk_->Set(Fault::kSyncIoError);
  const AppendOutcome unsure = Append(partition_, Batch(1));
  EXPECT_EQ(unsure.error().reason(), "APPEND_UNCERTAIN") << unsure.DebugString();
  ASSERT_TRUE(Eventually([&] { return metadata_.Node(1).session_id() == 0; }));
  EXPECT_EQ(Known().leader(), 2);
  EXPECT_THAT(Known().isr(), testing::ElementsAre(2));
  EXPECT_FALSE(node_->Ready());
  node_->Stop();
  EXPECT_EQ(metadata_.Node(1).node_epoch(), epoch) << "it has not registered again";
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/clean"));
  // The others go on with what was acknowledged.
  stub_ = StorageService::NewStub(rpc::MakeChannel(other_->grpc_address()));
  topic_ = metadata_.Topic("shared");
  ASSERT_TRUE(Eventually([&] { return !Append(partition_, Batch(1)).has_error(); }));
  node_.reset();
  disk_->Set(Fault::kNone);
  StartOne();
  ASSERT_TRUE(Eventually([&] { return Known().isr_size() == 2; })) << "it comes back by itself";
}

TEST_F(FailedDiskTest, ANodeWhoseDiskHangsIsGoneForTheOthersAndStaysOut) {
  stall_max_ = absl::Seconds(2);
  Start(/*min_in_sync=*/1);
  ASSERT_FALSE(Append(partition_, Batch(3)).has_error());
  const int64_t epoch = metadata_.Node(1).node_epoch();
  disk_->Set(Fault::kHangingSync);
  Producer waits(stub_.get());
  ASSERT_TRUE(waits.Send(Request(partition_, Batch(1))));
  ASSERT_TRUE(Eventually([&] { return metadata_.Node(1).session_id() == 0; }));
  EXPECT_EQ(Known().leader(), 2);
  EXPECT_THAT(Known().isr(), testing::ElementsAre(2));
  EXPECT_FALSE(node_->Ready());
  EXPECT_FALSE(Serves("liveness"));
  EXPECT_TRUE(node_->DiskHangs());
  EXPECT_THAT(Get(node_->http_address(), "/metrics"),
              testing::HasSubstr("falaj_storage_disk_failed 1"));
  // The others go on.
  auto stub = StorageService::NewStub(rpc::MakeChannel(other_->grpc_address()));
  topic_ = metadata_.Topic("shared");
  ASSERT_TRUE(Eventually(
      [&] { return !Producer(stub.get()).Append(Request(partition_, Batch(1))).has_error(); }));
  // The disk goes on, too. Who waited hears of it; the node takes nothing more, and stays out.
  disk_->Set(Fault::kNone);
  const AppendOutcome told = waits.Receive();
  EXPECT_EQ(told.error().reason(), "APPEND_UNCERTAIN") << told.DebugString();
  ASSERT_TRUE(Eventually([&] { return !node_->DiskHangs(); }));
  EXPECT_TRUE(Append(partition_, Batch(1)).has_error());
  EXPECT_FALSE(node_->Ready());
  EXPECT_FALSE(Serves("liveness"));
  node_->Stop();
  EXPECT_EQ(metadata_.Node(1).node_epoch(), epoch) << "it has not registered again";
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/clean"));
  node_.reset();
  StartOne();
  ASSERT_TRUE(Eventually([&] { return Known().isr_size() == 2; })) << "a restart brings it back";
}

TEST_F(FailedDiskTest, AStopWhoseDiskHangsHandsOverAndFindsItOut) {
  stall_max_ = absl::Seconds(4);
  Start(/*min_in_sync=*/1);
  ASSERT_FALSE(Append(partition_, Batch(3)).has_error());
  disk_->Set(Fault::kHangingSync);
  Producer waits(stub_.get());
  ASSERT_TRUE(waits.Send(Request(partition_, Batch(1))));
  ASSERT_TRUE(Eventually([&] { return disk_->hanging() > 0; }));
  std::thread stop([this] { node_->Stop(); });
  EXPECT_TRUE(Eventually([&] { return Known().leader() == 2; }));
  EXPECT_TRUE(Eventually([&] { return node_->DiskHangs(); })) << "the process ends then";
  disk_->Set(Fault::kNone);
  stop.join();
  EXPECT_FALSE(node_->DiskHangs());
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/clean"));
}

// A small batch that needs no sync is mostly written by gRPC's thread, of which there may be one.
TEST_F(FailedDiskTest, AWriteThatHangsKeepsNobodyElse) {
  StartOne();
  CreateTopic("t", 1, /*fsync=*/false);
  ASSERT_FALSE(Append(0, Batch(3)).has_error());
  disk_->Set(Fault::kHangingWrite);
  Producer waits(stub_.get());
  ASSERT_TRUE(waits.Send(Request(0, Batch(1))));
  ASSERT_TRUE(Eventually([&] { return disk_->hanging() > 0; }));
  EXPECT_FALSE(ReadOne(0, 0).batches().empty());
  EXPECT_TRUE(Serves("liveness"));
  disk_->Set(Fault::kNone);
  EXPECT_FALSE(waits.Receive().has_error());
  EXPECT_FALSE(Append(0, Batch(1)).has_error());
}

TEST_F(FailedDiskTest, AScrapeDoesNotWaitForTheDisk) {
  const auto listing = std::make_shared<HangingListing>();
  const std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(listing);
  StorageServer::Options options = Options();
  options.store_env = env.get();
  StartNode(options);
  const absl::Cleanup end = [&] {  // Before the disk goes.
    listing->Hang(false);
    node_->Stop();
    node_.reset();
  };
  listing->Hang(true);
  EXPECT_GE(Metric("falaj_storage_table_bytes"), 0);
  ASSERT_TRUE(Eventually([&] { return listing->hanging(); })) << "maintenance does";
  EXPECT_GE(Metric("falaj_storage_table_bytes"), 0);
}

TEST_F(FailedDiskTest, ADiskThatIsSlowIsWaitedFor) {
  stall_max_ = absl::Seconds(30);
  Start(/*min_in_sync=*/1);
  disk_->Set(Fault::kHangingSync);
  Producer waits(stub_.get());
  ASSERT_TRUE(waits.Send(Request(partition_, Batch(1))));
  ASSERT_TRUE(Eventually([&] { return Metric("falaj_storage_disk_operation_seconds") >= 0.5; }))
      << "it stands";
  disk_->Set(Fault::kNone);
  EXPECT_FALSE(waits.Receive().has_error());
  EXPECT_TRUE(node_->Ready());
  EXPECT_TRUE(Serves("liveness"));
  EXPECT_EQ(Known().leader(), 1);
}

TEST_F(FailedDiskTest, MetricsTellHowFullTheDiskIs) {
  StartOne();
  constexpr int64_t kGiB = int64_t{1} << 30;  // Of 1,000 there are.
  const std::vector<std::pair<int64_t, double>> steps = {
      {500 * kGiB, 0}, {120 * kGiB, 1}, {40 * kGiB, 2}, {4 * kGiB, 3}, {500 * kGiB, 0}};
  for (const auto& step : steps) {
    free_bytes_ = step.first;
    EXPECT_TRUE(Eventually([&] { return Metric("falaj_storage_disk_level") == step.second; }))
        << step.second;
  }
}

TEST_F(FailedDiskTest, ANodeThatSharesNothingStaysAndIsRead) {
  StartOne();
  CreateTopic("own", 1);
  ASSERT_FALSE(Append(0, Batch(3)).has_error());
  disk_->Set(Fault::kIoError);
  EXPECT_EQ(Append(0, Batch(1)).error().reason(), "STORAGE_FAILED");
  ASSERT_TRUE(Eventually([&] { return metadata_.Node(1).stopping(); }));
  EXPECT_THAT(Offsets(ReadOne(0, 0)), testing::ElementsAre(0, 1, 2));
  node_->Stop();
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/clean"));
}

TEST_F(FailedDiskTest, ASyncThatFindsNoRoomStrandsNoFollower) {
  Start();
  ASSERT_FALSE(Append(partition_, Batch(3)).has_error());
  disk_->Set(Fault::kSyncNoSpace);
  Producer waits(stub_.get());
  ASSERT_TRUE(waits.Send(Request(partition_, Batch(1))));
  ASSERT_TRUE(Eventually([&] {
    // It waits, too, if it was written in time.
    AppendBatch request = Request(partition_, Batch(1));
    request.mutable_header()->set_timeout_ms(100);
    return Producer(stub_.get()).Append(request).error().reason() == "DISK_FULL";
  })) << "the sync has failed";
  disk_->Set(Fault::kNone);
  EXPECT_EQ(waits.Receive().base_offset(), 4) << "after the start of the epoch and three records";
  ASSERT_TRUE(Eventually([&] { return !Append(partition_, Batch(1)).has_error(); }));
  EXPECT_EQ(Known().leader(), 1);
  EXPECT_EQ(Known().leader_epoch(), topic_.partitions(partition_).leader_epoch());
  EXPECT_EQ(Known().isr_size(), 2);
}

TEST_F(FailedDiskTest, ANodeWithoutRoomGivesItsLeadsAwayAndDoesNotTakeThemBack) {
  Start();
  ASSERT_FALSE(Append(partition_, Batch(3)).has_error());
  free_bytes_ = int64_t{1} << 20;
  ASSERT_TRUE(Eventually([&] { return Known().leader() == 2; }));
  EXPECT_THAT(Known().isr(), testing::UnorderedElementsAre(1, 2)) << "it follows";
  stub_ = StorageService::NewStub(rpc::MakeChannel(other_->grpc_address()));
  topic_ = metadata_.Topic("shared");
  ASSERT_TRUE(Eventually([&] { return !Append(partition_, Batch(1)).has_error(); }));
  // The other one fills, too: the lead comes back, and stays, though nobody has room.
  free_bytes_of_other_ = int64_t{1} << 20;
  ASSERT_TRUE(Eventually([&] { return Known().leader() == 1; }));
  const int32_t epoch = Known().leader_epoch();
  free_bytes_ = int64_t{500} << 30;
  ASSERT_TRUE(Eventually([&] { return node_->Ready(); }));
  EXPECT_EQ(Known().leader_epoch(), epoch);
}

TEST_F(FailedDiskTest, ADamagedRecordIsFetchedAnewFromAnotherNode) {
  Start(/*min_in_sync=*/1);
  AppendSome(partition_);
  RestartOfTwo([] {});
  RestartOfTwo([&] { EXPECT_GT(Flip("a value that is looked for"), 0); });
  LeadByOne();
  EXPECT_EQ(ReadOne(partition_, 0).error().reason(), "NOT_LEADER")
      << "gateways ask the next leader";
  ASSERT_TRUE(Eventually([&] { return Known().leader() == 2; }));
  ASSERT_TRUE(Eventually([&] { return Known().isr_size() == 2; })) << "it has all of it again";
  LeadByOne();
  const PartitionBatches whole = ReadOne(partition_, 0);
  EXPECT_FALSE(whole.has_error()) << whole.DebugString();
  EXPECT_GT(whole.next_offset(), 4) << "as much as fits in one answer";
  EXPECT_THAT(whole.batches(), testing::HasSubstr("a value that is looked for"));
}

TEST_F(FailedDiskTest, DamageThatNobodyReadsIsFoundAndFetchedAnew) {
  Start(/*min_in_sync=*/1);
  AppendSome(partition_);
  RestartOfTwo([] {});
  EXPECT_EQ(Metric("falaj_scrub_completed_timestamp_seconds"), 0);
  scrub_period_ = absl::Seconds(1);
  RestartOfTwo([&] {
    EXPECT_GT(Flip("a value that is looked for"), 0);
    std::filesystem::remove(dir_ + "/scrub");  // A second from now, when it is in sync.
  });
  ASSERT_TRUE(Eventually([&] { return Metric("falaj_scrub_damaged_partitions_total") == 1; }));
  ASSERT_TRUE(Eventually([&] {
    internal::v1::ClusterCommand command;
    command.mutable_elect_leaders()->set_topic("shared");
    command.mutable_elect_leaders()->add_partitions(partition_);
    command.mutable_elect_leaders()->set_node_id(1);
    if (Known().leader() != 1 && !metadata_.Apply(command).ok()) return false;
    topic_ = metadata_.Topic("shared");
    stub_ = StorageService::NewStub(rpc::MakeChannel(node_->grpc_address()));
    return Known().leader() == 1 && ReadOne(partition_, 0).next_offset() > 4;
  })) << "it has all of it again";
  EXPECT_THAT(ReadOne(partition_, 0).batches(), testing::HasSubstr("a value that is looked for"));
  ASSERT_TRUE(Eventually([&] { return Metric("falaj_scrub_completed_timestamp_seconds") > 0; }));
  EXPECT_GT(Metric("falaj_scrub_bytes_total"), 0);
  EXPECT_EQ(Metric("falaj_scrub_damaged_partitions_total"), 1) << "it is whole";
}

TEST_F(FailedDiskTest, ADamagedStoreIsRefusedAndAnEmptyDirectoryTakesItsPlace) {
  Start(/*min_in_sync=*/1);
  AppendSome(partition_);
  node_->Stop();
  node_.reset();
  std::string table;
  for (const auto& file : std::filesystem::directory_iterator(dir_ + "/log")) {
    if (file.path().extension() == ".sst") table = file.path().filename().string();
  }
  ASSERT_FALSE(table.empty());
  std::filesystem::remove(dir_ + "/log/" + table);
  StorageServer::Options options = Options();
  const auto refused = StorageServer::Start(options);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(ReasonOf(refused.status()), Reason::kCorruptRecord) << refused.status();
  EXPECT_THAT(refused.status().message(),
              testing::AllOf(testing::HasSubstr(dir_), testing::HasSubstr(table),
                             testing::HasSubstr("with an empty directory")));
  std::filesystem::rename(dir_, dir_ + "_damaged");
  StartOne();
  ASSERT_TRUE(Eventually([&] { return Known().isr_size() == 2; })) << "all is fetched anew";
  LeadByOne();
  EXPECT_THAT(ReadOne(partition_, 0).batches(), testing::HasSubstr("a value that is looked for"));
  std::filesystem::remove_all(dir_ + "_damaged");
}

TEST_F(FailedDiskTest, TheOnlyCopyStaysWithItsDamage) {
  StartOne();
  CreateTopic("own", 1);
  AppendSome(0);
  Restart([] {});
  Restart([&] { EXPECT_GT(Flip("a value that is looked for"), 0); });
  WaitForTopic("own");
  EXPECT_EQ(ReadOne(0, 0).error().reason(), "CORRUPT_RECORD");
  ASSERT_FALSE(Append(0, Batch(1)).has_error());
  EXPECT_EQ(ReadOne(0, 6).next_offset(), 8) << "all but what is damaged is served";
}

}  // namespace
}  // namespace falaj::storage
