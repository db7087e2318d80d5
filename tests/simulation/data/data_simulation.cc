#include "tests/simulation/data/data_simulation.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/cluster/election.h"
#include "libs/cluster/topic_rules.h"
#include "tests/simulation/data/consumer.h"
#include "tests/simulation/data/history.h"
#include "tests/simulation/data/invariants.h"
#include "tests/simulation/data/metadata.h"
#include "tests/simulation/data/producer.h"
#include "tests/simulation/data/quorum_metadata.h"
#include "tests/simulation/data/single_metadata.h"
#include "tests/simulation/data/storage_node.h"
#include "tests/simulation/data/storage_process.h"

namespace falaj::simulation::data {
namespace {

constexpr SimTime kRecoveryMax = 20 * kSecond;
// Of a metadata quorum, before the others can recover.
constexpr SimTime kElectionMax = 2 * kSecond;
constexpr SimTime kCheckAgain = 20 * kMillisecond;
// Drawn apart, so that the other laws stay what they were.
constexpr uint64_t kUncleanLaw = 0x756e636c65616e;
constexpr uint64_t kMovingLaw = 0x6d6f76696e67;
constexpr uint64_t kAbsentLaw = 0x616273656e74;
constexpr uint64_t kQuorumLaw = 0x71756f72756d;
constexpr uint64_t kWatchLaw = 0x7761746368;

bool DrawQuorum(const RunOptions& options) {
  if (options.metadata != MetadataKind::kDrawn) return options.metadata == MetadataKind::kQuorum;
  return Random(options.seed ^ kQuorumLaw).Below(4) == 0;
}

Laws DrawLaws(const RunOptions& options, Random* random) {
  Laws laws;
  laws.fsync = random->Below(6) != 0;
  laws.session_timeout = random->Between(150, 500) * kMillisecond;
  laws.replica_lag_max = random->Between(80, 500) * kMillisecond;
  laws.credit = static_cast<int>(random->Between(1, 8));
  laws.push_batches = static_cast<int>(random->Between(1, 4));
  laws.unclean = Random(options.seed ^ kUncleanLaw).Below(4) == 0;
  laws.moving = Random(options.seed ^ kMovingLaw).Below(3) == 0;
  laws.absent = Random(options.seed ^ kAbsentLaw).Below(2) == 0;
  laws.quorum = DrawQuorum(options);
  if (laws.quorum) {  // What it leaves to the metadata nodes: they send watchers away.
    laws.watch_patience = Random(options.seed ^ kWatchLaw).Between(300, 3000) * kMillisecond;
  }
  laws.bug = options.planted_bug;
  return laws;
}

// Everything a run is made of.
class Life {
 public:
  explicit Life(const RunOptions& options)
      : options_(options),
        random_(options.seed),
        queue_(random_.Next()),
        network_(&queue_, random_.Next()),
        trace_(&queue_, options.trace),
        invariants_(&world_) {
    world_.queue = &queue_;
    world_.network = &network_;
    world_.trace = &trace_;
    world_.findings = &findings_;
    world_.invariants = &invariants_;
    world_.history = &history_;
    world_.laws = DrawLaws(options, &random_);
    metadata_ = MakeMetadata(random_.Next());
    world_.metadata = metadata_.get();
    nemesis_ = std::make_unique<Nemesis>(&world_, random_.Next());
  }

  RunReport Run() {
    MakeCluster();
    MakeClients();
    nemesis_->Play(options_.script);
    nemesis_->Start();
    const SimTime end = queue_.now() + options_.faulty_time;
    Until([this, end] { return queue_.now() >= end; });
    if (world_.laws.absent) GoOnWithoutOne();
    nemesis_->HealAll();
    for (const auto& producer : producers_) producer->Finish();
    Recover("all is well: whole ISRs, equal logs, clients done", [this] { return AllIsWell(); });
    if (!findings_.first()) Judge();
    return Report();
  }

 private:
  std::unique_ptr<Metadata> MakeMetadata(uint64_t seed) {
    if (world_.laws.quorum) return std::make_unique<QuorumMetadata>(&world_, seed);
    return std::make_unique<SingleMetadata>(&world_, seed);
  }

  void MakeCluster() {
    metadata_->Start(Uuid::FromRandomBits(77, options_.seed + 1));
    auto count = static_cast<int>(random_.Between(3, 4));
    if (world_.laws.moving) count = 4;
    for (int id = 1; id <= count; ++id) {
      world_.nodes[NodeId{id}] = std::make_unique<StorageNode>(&world_, NodeId{id}, random_.Next());
      world_.nodes.at(NodeId{id})->Start();
    }
    Until([this] {
      return std::all_of(world_.nodes.begin(), world_.nodes.end(),
                         [this](const auto& node) { return metadata_->IsAlive(node.first); });
    });
    MakeTopic("orders", 2, 3, 2);
    const bool pair = random_.Below(2) == 0;
    MakeTopic("clicks", static_cast<int>(random_.Between(1, 2)), pair ? 2 : 3,
              static_cast<int>(random_.Between(1, 2)), world_.laws.unclean);
  }

  void MakeTopic(const std::string& name, int partitions, int factor, int min_in_sync,
                 bool unclean = false) {
    const TopicId id = random_.NextUuid();
    for (int i = 0; i < partitions; ++i) {
      world_.partitions.push_back({name, id, PartitionIndex{i}});
    }
    pb::ClusterCommand command;
    pb::CreateTopicCommand& topic = *command.mutable_create_topic();
    topic.set_topic_id(std::string(id.bytes()));
    topic.set_name(name);
    topic.set_partition_count(partitions);
    topic.set_replication_factor(factor);
    *topic.mutable_settings() = cluster::DefaultTopicSettings();
    topic.mutable_settings()->set_min_in_sync_replicas(min_in_sync);
    topic.mutable_settings()->set_fsync(world_.laws.fsync);
    topic.mutable_settings()->set_unclean_election_after_ms(unclean ? 1'000 : 0);
    OrderTopic(command);
    Until([this, &name] { return metadata_->state().topics().contains(name); });
  }

  void OrderTopic(const pb::ClusterCommand& command) {
    metadata_->Order(command, [this, command](const absl::StatusOr<pb::ExecuteResponse>& made) {
      if (metadata_->state().topics().contains(command.create_topic().name())) return;
      if (ReasonOf(made.status()) == Reason::kMetadataUnavailable) return OrderTopic(command);
      findings_.Report("set-up", std::string(made.status().message()));
    });
  }

  void MakeClients() {
    Endpoint endpoint = kFirstClient;
    for (size_t i = 0; i < world_.partitions.size(); ++i) {
      const auto partition = static_cast<PartitionNumber>(i);
      const uint64_t producers = 1 + random_.Below(2);
      for (uint64_t k = 0; k < producers; ++k) {
        producers_.push_back(std::make_unique<Producer>(
            &world_, Producer::Options{.endpoint = endpoint++,
                                       .seed = random_.Next(),
                                       .partition = partition,
                                       .acks = random_.Below(5) == 0 ? replica::Acks::kLeader
                                                                     : replica::Acks::kAll,
                                       .idempotent = random_.Below(5) != 0,
                                       .in_flight_max = 1 + random_.Below(5),
                                       .pause_max = random_.Between(5, 60) * kMillisecond}));
        producers_.back()->Start();
      }
      consumers_.push_back(std::make_unique<Consumer>(
          &world_, Consumer::Options{
                       .endpoint = endpoint++, .seed = random_.Next(), .partition = partition}));
      consumers_.back()->Start();
    }
  }

  // Lets things happen until `done`, or a promise is broken.
  void Until(const std::function<bool()>& done) {
    while (!IsBroken() && !done()) queue_.RunNext();
  }
  bool IsBroken() {
    const auto own = metadata_->finding();
    if (own.has_value()) findings_.Report(own->invariant, own->what);
    return findings_.first().has_value();
  }

  void Recover(const char* what, const std::function<bool()>& done) {
    const SimTime deadline = queue_.now() + kRecoveryMax + (world_.laws.quorum ? kElectionMax : 0);
    SimTime look_at = queue_.now();
    bool recovered = false;
    Until([&] {
      if (queue_.now() < look_at) return false;
      look_at = queue_.now() + kCheckAgain;
      return (recovered = done()) || queue_.now() >= deadline;
    });
    if (recovered) return;
    findings_.Report("liveness",
                     absl::StrCat("not until ", FormatTime(deadline), " s: ", what, "; ", unwell_));
  }

  // All but one node get well: whatever does not need that one goes on.
  void GoOnWithoutOne() {
    const NodeId absent{
        static_cast<int32_t>(random_.Between(1, static_cast<int64_t>(world_.nodes.size())))};
    trace_("node ", absent, " stays away");
    nemesis_->HealAllBut(absent);
    for (const auto& producer : producers_) producer->GoEasy();
    Recover("all but one are there", [&] {
      return std::all_of(world_.nodes.begin(), world_.nodes.end(), [&](const auto& node) {
        return metadata_->IsAlive(node.first) == (node.first != absent) ||
               Unwell(absl::StrCat("node ", node.first));
      });
    });
    std::vector<std::pair<LeaderEpoch, Offset>> ends;
    for (size_t i = 0; i < world_.partitions.size(); ++i) {
      const auto partition = static_cast<PartitionNumber>(i);
      ends.emplace_back(invariants_.unclean_epoch(partition), invariants_.committed_end(partition));
    }
    Recover("all but one are well: what they hold goes on", [&] {
      for (size_t i = 0; i < ends.size(); ++i) {
        const auto partition = static_cast<PartitionNumber>(i);
        // An unclean election, which the quorum holds by itself, may take the end back.
        const LeaderEpoch unclean = invariants_.unclean_epoch(partition);
        const Offset end = invariants_.committed_end(partition);
        if (ends[i].first != unclean || end < ends[i].second) ends[i] = {unclean, end};
        if (!GoesOn(partition, absent, ends[i].second)) return false;
      }
      return true;
    });
  }

  // It has committed something since it ended at `end`, and all who can be are in sync; or it needs
  // the node that is absent.
  bool GoesOn(PartitionNumber partition, NodeId absent, Offset end) {
    const pb::PartitionState& state = metadata_->partition(partition);
    if (state.leader() == 0) {
      pb::PartitionState copy = state;
      if (cluster::Elect(metadata_->state().nodes(), metadata_->min_in_sync(partition), &copy)) {
        return Unwell(partition, "has no leader, and somebody might lead");
      }
      findings_.Reach(Mark::kWaitedForOne);
      return true;
    }
    int present = 0;
    for (const int32_t node : state.replicas()) present += node != absent.value() ? 1 : 0;
    if (present < metadata_->min_in_sync(partition)) return true;
    if (state.isr_size() != present) {
      return Unwell(partition, "has too few in sync");
    }
    if (invariants_.committed_end(partition) <= end) {
      return Unwell(partition, "commits nothing");
    }
    findings_.Reach(Mark::kWentOn);
    return true;
  }

  bool Unwell(PartitionNumber partition, absl::string_view why) {
    const pb::PartitionState& state = metadata_->partition(partition);
    std::string text = absl::StrCat("partition ", partition, " ", why, ": leader ", state.leader(),
                                    " epoch ", state.leader_epoch());
    for (const int32_t node : state.replicas()) {
      absl::StrAppend(&text, ", node ", node,
                      cluster::Contains(state.isr(), node) ? " (in sync)" : "");
      const StorageNode& machine = *world_.nodes.at(NodeId{node});
      const replica::Replica* const core =
          machine.running() ? machine.process()->shard().Find(partition) : nullptr;
      if (core == nullptr) continue;
      absl::StrAppend(&text, " epoch ", core->epoch(), core->serving() ? " serving" : "",
                      core->attached() ? " attached" : "", " high watermark ",
                      core->high_watermark(), " written to ", core->written_end(), " of ",
                      core->log_end());
    }
    return Unwell(text);
  }

  bool Unwell(const std::string& why) {
    unwell_ = why;
    return false;
  }

  bool AllIsWell() {
    for (const auto& [id, node] : world_.nodes) {
      if (!node->running()) return Unwell(absl::StrCat("node ", id, " does not run"));
    }
    for (const auto& producer : producers_) {
      if (producer->done()) continue;
      return Unwell(absl::StrCat("a producer of partition ", producer->partition(), " waits"));
    }
    for (size_t i = 0; i < world_.partitions.size(); ++i) {
      if (!IsWhole(static_cast<PartitionNumber>(i))) return false;
    }
    if (const std::string part = metadata_->Unwell(); !part.empty()) return Unwell(part);
    for (const auto& consumer : consumers_) {
      if (consumer->position() >= invariants_.committed_end(consumer->partition())) continue;
      return Unwell(
          absl::StrCat("the consumer of partition ", consumer->partition(), " is behind"));
    }
    return true;
  }

  bool IsWhole(PartitionNumber partition) {
    const pb::PartitionState& state = metadata_->partition(partition);
    if (state.target_replicas_size() > 0) {
      return Unwell(partition, "is on its way");
    }
    if (state.isr_size() != state.replicas_size()) {
      return Unwell(partition, "has too few in sync");
    }
    for (const int32_t id : state.replicas()) {
      const Shard& shard = world_.nodes.at(NodeId{id})->process()->shard();
      const replica::Replica* const core = shard.Find(partition);
      if (core == nullptr || core->has_unwritten() ||
          core->log_end() != invariants_.committed_end(partition) ||
          core->high_watermark() != core->log_end()) {
        return Unwell(partition, "is not the same everywhere");
      }
    }
    return true;
  }

  void Judge() {
    invariants_.CheckEqual();
    for (size_t i = 0; i < world_.partitions.size(); ++i) {
      const auto partition = static_cast<PartitionNumber>(i);
      for (const int32_t id : metadata_->partition(partition).replicas()) {
        const StoredLog& log =
            *world_.nodes.at(NodeId{id})->store().Find(partition, Store::View::kWritten);
        history_.OnFinalRead(partition, -id, log.log_start,
                             {log.batches.begin(), log.batches.end()});
      }
    }
    if (const auto finding = history_.Judge()) findings_.Report(finding->invariant, finding->what);
  }

  RunReport Report() {
    RunReport report;
    report.finding = findings_.first();
    report.time = queue_.now();
    report.events = queue_.count();
    report.hash = queue_.hash();
    report.sends = history_.sends();
    report.reads = history_.reads();
    for (const auto& producer : producers_) report.acknowledged += producer->acknowledged();
    report.commands = metadata_->state().index().value();
    report.quorum = world_.laws.quorum;
    for (size_t i = 0; i < kMarks; ++i) {
      report.marks[i] = findings_.reached(static_cast<Mark>(i));
    }
    return report;
  }

  const RunOptions options_;
  Random random_;
  EventQueue queue_;
  SimNetwork network_;
  Trace trace_;
  Findings findings_;
  History history_;
  World world_;
  Invariants invariants_;
  std::unique_ptr<Metadata> metadata_;
  std::unique_ptr<Nemesis> nemesis_;
  std::vector<std::unique_ptr<Producer>> producers_;
  std::vector<std::unique_ptr<Consumer>> consumers_;
  std::string unwell_;  // What was waited for last.
};

}  // namespace

RunReport Run(const RunOptions& options) { return Life(options).Run(); }

std::string Describe(const RunOptions& options, const RunReport& report) {
  const absl::string_view metadata = report.quorum ? " (quorum)" : "";
  if (!report.finding) return absl::StrCat("seed ", options.seed, metadata, ": ok");
  return absl::StrCat("seed ", options.seed, metadata, " at ", FormatTime(report.time),
                      " s: ", report.finding->invariant, ": ", report.finding->what);
}

}  // namespace falaj::simulation::data
