#include "services/storage/storage_server.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

#include "libs/base/log.h"
#include "libs/base/mutex.h"
#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/http/http_server.h"
#include "libs/log/disk_pulse.h"
#include "libs/log/rocks_log_store.h"
#include "libs/log/tail_cache.h"
#include "libs/replica/planted_bug.h"
#include "libs/rpc/callback_threads.h"
#include "libs/rpc/client_metrics.h"
#include "libs/rpc/metadata_channel.h"
#include "libs/rpc/server.h"
#include "libs/telemetry/process_metrics.h"
#include "libs/telemetry/registry.h"
#include "services/storage/assignments.h"
#include "services/storage/housekeeping.h"
#include "services/storage/known_history.h"
#include "services/storage/lead_giver.h"
#include "services/storage/node_identity.h"
#include "services/storage/node_session.h"
#include "services/storage/periodic.h"
#include "services/storage/read_deadlines.h"
#include "services/storage/replica_links.h"
#include "services/storage/replica_stream.h"
#include "services/storage/scrubber.h"
#include "services/storage/storage_service_impl.h"

namespace falaj::storage {
namespace {

constexpr size_t kDiskReadsQueued = 10'000;
constexpr size_t kWakesQueued = 100'000;
constexpr size_t kPartitionSeriesMax = 2'000;
constexpr absl::Duration kStopGrace = absl::Milliseconds(200);
constexpr absl::Duration kHandOverMax = absl::Seconds(3);
constexpr absl::Duration kHandOverRetry = absl::Milliseconds(200);
// Leads move on in portions, each taken over before the next: then no partition waits for all the
// others. So many at a time, and more if it would take more than so many portions.
constexpr int32_t kLeadsAtATime = 32;
constexpr int32_t kPortionsMax = 16;
constexpr int32_t kAllLeads = 0;
constexpr std::chrono::milliseconds kTellStoredPoll{100};
constexpr absl::Duration kHeldUpMax = absl::Milliseconds(200);
constexpr absl::Duration kStopPulse = absl::Milliseconds(250);

absl::Status BadOption(absl::string_view name, absl::string_view why) {
  return MakeError(Reason::kInvalidConfig, absl::StrCat(name, " ", why),
                   {{"field", std::string(name)}});
}

absl::Status Validate(const StorageServer::Options& options) {
  if (options.node_id < 1) return BadOption("node_id", "must be at least 1");
  if (options.data_dir.empty()) return BadOption("data_dir", "must be set");
  if (options.metadata_addresses.empty()) return BadOption("metadata_addresses", "must be set");
  if (options.reader_threads < 1) return BadOption("reader_threads", "must be at least 1");
  if (options.replica_lag_max < absl::Milliseconds(100)) {
    return BadOption("replica_lag_max", "must be at least 100 ms");
  }
  if (options.catch_up_bytes_per_second < 0) {
    return BadOption("catch_up_bytes_per_second", "must not be negative");
  }
  if (options.scrub_bytes_per_second < 0) {
    return BadOption("scrub_bytes_per_second", "must not be negative");
  }
  if (options.scrub_period <= absl::ZeroDuration()) {
    return BadOption("scrub_period", "must be above 0");
  }
  if (options.disk_stall_max != absl::ZeroDuration() &&
      options.disk_stall_max < absl::Milliseconds(100)) {
    return BadOption("disk_stall_max", "must be 0 or at least 100 ms");
  }
  if (options.session_timeout < absl::Milliseconds(100)) {
    return BadOption("session_timeout", "must be at least 100 ms");
  }
  const auto bug = replica::PlantedBugFromName(options.planted_bug);
  if (!bug.has_value() || !replica::PlantedBugIsOfReplica(*bug)) {
    return BadOption("planted_bug",
                     absl::StrCat("is none that a storage node can make: ", options.planted_bug));
  }
  return absl::OkStatus();
}

// Adds to `status` what an operator does about a data directory that is damaged.
absl::Status AdviseIfDamaged(const absl::Status& status, const std::string& data_dir) {
  if (ReasonOf(status) != Reason::kCorruptRecord) return status;
  ErrorMetadata metadata = MetadataOf(status);
  metadata["data_dir"] = data_dir;
  return MakeError(
      Reason::kCorruptRecord,
      absl::StrCat(status.message(), ". The node cannot start from it. Move '", data_dir,
                   "' away and start the node with an empty directory under the same id: it "
                   "fetches its partitions anew from their other replicas. What had no other "
                   "replica is only in what was moved away"),
      metadata);
}

// The parts of one storage node, in the order in which they depend on each other.
class Node final : public StorageServer {
 public:
  Node(const Options& options, NodeIdentity identity, std::unique_ptr<KnownHistory> history)
      : options_(options),
        clock_(options.clock == nullptr ? Clock::Real() : options.clock),
        metrics_(&registry_),
        identity_(std::move(identity)),
        history_(std::move(history)),
        disk_(options.data_dir, options.disk_watermarks,
              options.disk_probe ? options.disk_probe : log::ReadDiskSpace),
        pulse_(clock_),
        stall_(options.disk_stall_max),
        tail_cache_({.bytes_max = options.tail_cache_bytes}),
        append_budget_(options.append_bytes_max),
        read_budget_(options.read_bytes_max),
        catch_up_(options.catch_up_bytes_per_second),
        channel_({.addresses = options.metadata_addresses, .metrics = client_metrics_}),
        disk_readers_(options.reader_threads, kDiskReadsQueued),
        catch_up_reader_(&catch_up_, kDiskReadsQueued),
        tail_readers_(1, kWakesQueued),
        links_(identity_.node()),
        service_(&parts_) {}

  ~Node() override {
    registry_.ClearCollectors();
    scrubber_.reset();
    lead_giver_.reset();
    housekeeping_.reset();
    if (leaver_.joinable()) leaver_.join();
    http_.reset();
    watch_.reset();
    session_.reset();
    if (host_ != nullptr) host_->Stop(absl::ZeroDuration());
    links_.Stop();
  }

  absl::Status Open() {
    FALAJ_RETURN_IF_ERROR(disk_.Poll());
    log::RocksLogStore::Options store_options;
    store_options.directory = identity_.store_directory();
    store_options.env = options_.store_env;
    store_options.pulse = &pulse_;
    store_options.direct_writes = options_.direct_writes;
    if (options_.slab_bytes_max > 0) store_options.slab_bytes_max = options_.slab_bytes_max;
    FALAJ_ASSIGN_OR_RETURN(store_, log::RocksLogStore::Open(store_options));
    shard_.emplace(
        StoreShard::Options{.node = identity_.node(),
                            .mailbox_bytes_max = 2 * options_.append_bytes_max,
                            .planted_bug = *replica::PlantedBugFromName(options_.planted_bug)},
        StoreShard::Parts{.store = store_.get(),
                          .tail_cache = &tail_cache_,
                          .metrics = &metrics_,
                          .clock = clock_,
                          .outbox = &links_,
                          .history = history_.get()});
    assignments_.emplace(identity_.node(), &*shard_, options_.replica_lag_max, [this](uint64_t) {
      // The watch begins after the session.
      session_->RegisterAgain();
    });
    if (history_->quarantined_count() > 0) {
      log::Warning("partitions are in quarantine since the quorum was recovered",
                   {{"partitions", history_->quarantined_count()}});
    }
    parts_ = {.node = identity_.node(),
              .shard = &*shard_,
              .assignments = &*assignments_,
              .store = store_.get(),
              .tail_cache = &tail_cache_,
              .disk = &disk_,
              .disk_readers = &disk_readers_,
              .tail_readers = &tail_readers_,
              .read_deadlines = &read_deadlines_,
              .append_budget = &append_budget_,
              .read_budget = &read_budget_,
              .stream_bytes_max = options_.stream_bytes_max,
              .replica_streams = &replica_streams_,
              .catch_up = &catch_up_,
              .catch_up_reader = &catch_up_reader_,
              .metrics = &metrics_,
              .clock = clock_};
    NoteStats();
    telemetry::AddProcessMetrics("storage", &registry_);
    registry_.AddCollector([this](telemetry::Samples* out) { Collect(out); });
    FALAJ_RETURN_IF_ERROR(Listen());
    links_.Start({.shard = &*shard_,
                  .assignments = &*assignments_,
                  .channel = &channel_,
                  .streams = &replica_streams_,
                  .metrics = client_metrics_});
    Join();
    return absl::OkStatus();
  }

  std::string grpc_address() const override { return host_->address(); }
  std::string http_address() const override { return http_ == nullptr ? "" : http_->address(); }

  bool Ready() const override {
    return !stopped_.load() && session_->alive() && assignments_->applied() && !shard_->failed() &&
           disk_.level() < log::DiskLevel::kHard;
  }

  bool DiskHangs() const override {
    // Any that is as old: whatever it is, Stop() would wait for it.
    return stalled_.load() && OldestStands() >= options_.disk_stall_max;
  }

  void Stop() override {
    if (stopped_.exchange(true)) return;
    lead_giver_.reset();
    host_->SetReady(false);
    HandOver();
    // From here on threads are waited for that a disk that hangs does not let go: it has to be
    // found out all the same, so that somebody ends the process.
    const Periodic disk_watcher(kStopPulse, [this] { WatchDisk(); });
    scrubber_.reset();
    housekeeping_.reset();
    if (leaver_.joinable()) leaver_.join();
    shard_->Stop();  // Appends are refused from here on; those queued are written and answered.
    links_.Stop();
    host_->Stop(kStopGrace);
    watch_.reset();
    session_->End();
    const bool clean = !shard_->failed() && session_->epoch().value() != 0;
    registry_.ClearCollectors();
    CloseStore();
    if (clean) {
      const absl::Status marked = identity_.MarkClean(session_->epoch());
      if (!marked.ok()) log::Warning("the stop is not marked as clean", {{"error", marked}});
    }
    log::Info("stopped", {{"node", identity_.node()}, {"clean", clean}});
  }

 private:
  absl::Status Listen() {
    rpc::ServerHost::Options host_options;
    host_options.listen_address = options_.listen_address;
    FALAJ_ASSIGN_OR_RETURN(host_, rpc::ServerHost::Start(host_options, {&service_}, &registry_));
    if (options_.http_address.empty()) return absl::OkStatus();
    FALAJ_ASSIGN_OR_RETURN(
        http_, http::HttpServer::Start({.address = options_.http_address},
                                       http::StandardHandlers(
                                           &registry_, [this] { return readiness_.load(); },
                                           [this] {
                                             MutexLock lock(&mu_);
                                             return refused_;
                                           })));
    return absl::OkStatus();
  }

  // Becomes part of the cluster.
  void Join() {
    const Uuid known_cluster = identity_.cluster_id();
    NodeSession::Options session_options;
    session_options.address =
        options_.advertised_address.empty() ? host_->address() : options_.advertised_address;
    session_options.zone = options_.zone;
    session_options.timeout = options_.session_timeout;
    session_options.incarnation = Random::FromSystem().NextUuid();
    session_options.tell_stored = [this](uint64_t recoveries) { return TellStored(recoveries); };
    session_options.on_registered = [this](const Uuid& cluster, LogIndex index,
                                           uint64_t recoveries) {
      SetRefused("");
      // The entry that registered the node is its node epoch.
      links_.SetNodeEpoch(NodeEpoch{static_cast<int64_t>(index.value())});
      if (recoveries < history_->recoveries()) {
        // A quorum that was given up is back. What it says of this node's partitions is of the
        // past.
        return log::Error("the metadata service is of an earlier history than this node's data",
                          {{"recoveries", recoveries}, {"known", history_->recoveries()}});
      }
      assignments_->Allow(cluster, index, recoveries);
    };
    session_options.on_refused = [this](const absl::Status& why) {
      SetRefused(absl::StrCat(ReasonName(ReasonOf(why)), ": ", why.message()));
    };
    session_.emplace(std::move(session_options), &identity_, &channel_, clock_);
    watch_ = channel_.WatchCluster(
        known_cluster, [this](const auto& event) { return assignments_->OnEvent(event); });
    Housekeeping::Options pulse;
    pulse.maintain_interval = options_.maintain_interval;
    pulse.retention_interval = options_.retention_interval;
    pulse.checkpoint_interval = options_.checkpoint_interval;
    pulse.disk_interval = options_.disk_check_interval;
    pulse.on_pulse = [this] { ShowHealth(); };
    pulse.on_maintained = [this] { NoteStats(); };
    housekeeping_.emplace(std::move(pulse), store_.get(), &*shard_, &disk_, clock_);
    lead_giver_.emplace(options_.disk_check_interval, &disk_, &*assignments_, &channel_);
    if (options_.scrub_bytes_per_second == 0) return;
    scrubber_.emplace(Scrubber::Options{.bytes_per_second = options_.scrub_bytes_per_second,
                                        .period = options_.scrub_period,
                                        .position_file = absl::StrCat(options_.data_dir, "/scrub")},
                      Scrubber::Parts{store_.get(), &*shard_, &metrics_, clock_});
  }

  void SetRefused(std::string why) {
    MutexLock lock(&mu_);
    refused_ = std::move(why);
  }

  // Nothing that this node held before the recovery is acknowledged once it has said what it holds.
  std::optional<std::vector<log::StoredPartition>> TellStored(uint64_t recoveries) {
    assignments_->BeginHistory(recoveries);
    std::promise<std::vector<log::StoredPartition>> told;
    auto stored = told.get_future();
    // A shard that has stopped calls nobody back.
    const auto done = std::make_shared<decltype(told)>(std::move(told));
    shard_->TellStored(recoveries, [done](auto all) { done->set_value(std::move(all)); });
    while (stored.wait_for(kTellStoredPoll) != std::future_status::ready) {
      if (stopped_.load()) return std::nullopt;
    }
    return stored.get();
  }

  // Lets others lead what they can, while everything is still served, and waits until whoever sent
  // batches here has been told what became of them. Where nobody else can lead nothing changes.
  void HandOver() {
    const MonotonicTime until = Clock::Real()->MonotonicNow() + kHandOverMax;
    const auto left = [until] {
      return std::max(until - Clock::Real()->MonotonicNow(), absl::ZeroDuration());
    };
    auto led = static_cast<int32_t>(assignments_->Leads().size());
    int32_t portion = std::max(kLeadsAtATime, led / kPortionsMax);
    while (session_->alive() && left() > absl::ZeroDuration()) {
      const auto relieved = session_->PrepareStop(portion, left());
      if (!relieved.ok()) {
        log::Warning("leadership is not handed over", {{"error", relieved.status()}});
        break;
      }
      assignments_->WaitForView(relieved->index, std::min(left(), kHandOverRetry));
      if (!assignments_->LeadsWhereOthersMay()) break;
      if (relieved->led_still < std::exchange(led, relieved->led_still)) {
        // One replica that cannot attach, for whatever reason, would hold up every portion: the
        // rest goes at once then.
        if (!shard_->WaitUntilAttached(std::min(left(), kHandOverRetry))) portion = kAllLeads;
      } else {
        // Until somebody has caught up.
        assignments_->WaitForView(assignments_->view()->index() + 1,
                                  std::min(left(), kHandOverRetry));
      }
    }
    if (!shard_->WaitUntilAnswered(std::max(left(), kHandOverRetry))) {
      log::Warning("some producers are left without answer");
    }
  }

  // Once the disk has failed. As HandOver(), but there is nothing to wait for: nobody catches up
  // here any more. The end of the session takes the node out of all ISRs; the next process
  // registers as one that has not stopped cleanly.
  void Leave() {
    const auto relieved = session_->PrepareStop(kAllLeads, kHandOverMax);
    if (!relieved.ok()) {
      log::Warning("leadership is not handed over", {{"error", relieved.status()}});
    } else {
      assignments_->WaitForView(relieved->index, kHandOverRetry);
    }
    // Nobody but this node has what it has: reads go on here, or nowhere.
    if (!assignments_->SharesPartitions()) return;
    // New leaders tell what became of batches that wait for them.
    shard_->WaitUntilAnswered(kHandOverRetry);
    session_->End();
    links_.SetNodeEpoch(NodeEpoch{0});  // It follows nobody any more.
    log::Error("the disk has failed: the node has left the cluster until it is restarted",
               {{"node", identity_.node()}});
  }

  // For how long the operation stands that has been under way for longest.
  absl::Duration OldestStands() const {
    const auto oldest = pulse_.Oldest();
    return oldest.has_value() ? clock_->MonotonicNow() - oldest->begun : absl::ZeroDuration();
  }

  // What who works the shard off does not notice: it stands in an operation that does not return,
  // or has nothing to write, and a flush has failed.
  void WatchDisk() {
    // Who works the shard off must not keep all of gRPC's callbacks waiting.
    if (rpc::ReplaceHeldUp(kHeldUpMax) > 0) {
      log::Warning("the disk keeps a thread of gRPC waiting", {{"node", identity_.node()}});
    }
    MutexLock lock(&watch_mu_);
    const auto oldest = pulse_.Oldest();
    if (stall_.Poll(clock_->MonotonicNow(), oldest)) {
      stalled_.store(true);
      const std::string why = absl::StrCat("the disk hangs: a ", oldest->what, " of ", oldest->path,
                                           " does not return");
      if (store_closes_) {
        log::Error("the store does not close", {{"error", why}});
      } else {
        store_->Fail(why);
      }
    }
    if (!store_closes_ && ReasonOf(store_->Health()) == Reason::kStorageFailed) shard_->Fail();
  }

  // Which may hang, too, and is watched without the store.
  void CloseStore() {
    {
      MutexLock lock(&watch_mu_);
      store_closes_ = true;
    }
    store_.reset();
  }

  void ShowHealth() {
    WatchDisk();
    const bool ready = Ready();
    if (readiness_.exchange(ready) != ready) {
      log::Info(ready ? "ready" : "not ready", {{"node", identity_.node()}});
      host_->SetReady(ready);
    }
    if (!shard_->failed() || !liveness_.exchange(false)) return;
    host_->SetServing("liveness", false);
    leaver_ = std::thread([this] { Leave(); });
  }

  // Takes the store's statistics, for which it asks the disk: a scrape must not, or one of a disk
  // that hangs would take all threads of the HTTP server along.
  void NoteStats() {
    const log::StoreStats stats = store_->Stats();
    MutexLock lock(&stats_mu_);
    stats_ = stats;
  }

  void Collect(telemetry::Samples* out) {
    metrics_.CollectTopics(out);
    const std::vector<std::shared_ptr<Partition>> partitions = shard_->List();
    if (options_.metrics_partition_level && partitions.size() <= kPartitionSeriesMax) {
      absl::flat_hash_map<LocalPartitionId, int64_t> sizes;
      for (const log::StoredPartition& stored : store_->ListPartitions()) {
        sizes[stored.id] = stored.size_bytes;
      }
      StorageMetrics::CollectPartitions(partitions, sizes, out);
    }
    {
      MutexLock lock(&stats_mu_);
      StorageMetrics::CollectStore(stats_, out);
    }
    StorageMetrics::CollectDisk({.space = disk_.space(),
                                 .level = disk_.level(),
                                 .failed = shard_->failed(),
                                 .stands = OldestStands(),
                                 .partitions = partitions.size()},
                                out);
    out->Gauge(
        "falaj_storage_quarantined_partitions",
        "Partitions that a recovered metadata quorum does not give the node: kept, not served.", {},
        static_cast<double>(history_->quarantined_count()));
    out->Gauge("falaj_storage_append_queue_bytes", "Bytes of batches that wait for the appender.",
               {}, static_cast<double>(shard_->queued_bytes()));
  }

  const Options options_;
  Clock* const clock_;
  std::atomic<bool> stopped_ = false;
  std::atomic<bool> readiness_ = false;
  std::atomic<bool> liveness_ = true;
  Mutex mu_;
  std::string refused_ ABSL_GUARDED_BY(mu_);  // Why it is not registered, for /healthz.

  telemetry::Registry registry_;
  const std::shared_ptr<rpc::ClientMetrics> client_metrics_ =
      std::make_shared<rpc::ClientMetrics>(&registry_);
  StorageMetrics metrics_;
  NodeIdentity identity_;
  const std::unique_ptr<KnownHistory> history_;
  log::DiskWatch disk_;
  log::DiskPulse pulse_;
  Mutex watch_mu_;
  log::StallWatch stall_ ABSL_GUARDED_BY(watch_mu_);  // Housekeeping's pulse asks it, and Stop().
  bool store_closes_ ABSL_GUARDED_BY(watch_mu_) = false;
  std::atomic<bool> stalled_ = false;
  Mutex stats_mu_;
  log::StoreStats stats_ ABSL_GUARDED_BY(stats_mu_);  // As of the last maintenance.
  log::TailCache tail_cache_;
  ByteBudget append_budget_;
  ByteBudget read_budget_;
  RateLimit catch_up_;
  rpc::MetadataChannel channel_;
  std::unique_ptr<log::RocksLogStore> store_;
  // The shard wakes long polls on the readers; the readers look partitions up in the shard, but
  // only for calls, of which there are none left when the host has stopped.
  ReaderPool disk_readers_;
  ReaderPool catch_up_reader_;
  ReadDeadlines read_deadlines_;
  ReaderPool tail_readers_;
  ReplicaStreams replica_streams_;
  ReplicaLinks links_;  // The shard speaks to it until it ends.
  std::optional<StoreShard> shard_;
  std::optional<Assignments> assignments_;
  ServiceParts parts_;
  StorageServiceImpl service_;
  std::unique_ptr<rpc::ServerHost> host_;
  std::unique_ptr<http::HttpServer> http_;
  std::optional<NodeSession> session_;
  std::unique_ptr<rpc::MetadataChannel::Watch> watch_;
  std::optional<Housekeeping> housekeeping_;
  std::optional<LeadGiver> lead_giver_;
  std::optional<Scrubber> scrubber_;
  std::thread leaver_;  // Started by housekeeping's pulse, joined once that has ended.
};

}  // namespace

absl::StatusOr<std::unique_ptr<StorageServer>> StorageServer::Start(const Options& options) {
  FALAJ_RETURN_IF_ERROR(Validate(options));
  Random random = Random::FromSystem();
  absl::StatusOr<NodeIdentity> identity =
      NodeIdentity::Open(options.data_dir, NodeId{options.node_id}, &random);
  if (!identity.ok()) return AdviseIfDamaged(identity.status(), options.data_dir);
  FALAJ_ASSIGN_OR_RETURN(std::unique_ptr<KnownHistory> history,
                         KnownHistory::Open(options.data_dir));
  auto node = std::make_unique<Node>(options, *std::move(identity), std::move(history));
  FALAJ_RETURN_IF_ERROR(AdviseIfDamaged(node->Open(), options.data_dir));
  return node;
}

}  // namespace falaj::storage
