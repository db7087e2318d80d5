#include "tests/simulation/data/exploration.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

#include "tests/simulation/data/exploration_metadata.h"
#include "tests/simulation/data/exploration_replica.h"
#include "tests/simulation/data/exploration_worlds.h"

namespace falaj::simulation::data {
namespace {

using replica::PlantedBug;
using replica::Role;

bool Has(unsigned nodes, int node) { return (nodes >> node & 1) != 0; }

// A late acknowledgement, as World has it. Leaders count from 1, so that none is 0.
uint16_t PackAck(int to, const Progress& progress) {
  return static_cast<uint16_t>(to | progress.node_epoch << 2 | progress.epoch << 5 |
                               progress.written << 8 | progress.flushed << 12);
}
Progress UnpackAck(uint16_t ack) {
  return {.node_epoch = ack >> 2 & 7,
          .epoch = ack >> 5 & 7,
          .written = ack >> 8 & 15,
          .flushed = ack >> 12 & 15};
}

class Explorer {
 public:
  explicit Explorer(const ExplorationBounds& bounds)
      : bounds_(bounds),
        replicas_({.bug = bounds.bug, .syncing = bounds.syncing}),
        metadata_(bounds.leader_epochs) {
    logs_.push_back(0);
    log_numbers_[0] = 0;
  }

  ExplorationReport Run() {
    World first;
    for (int node = 0; node < kNodes; ++node) Of(&first, node) = replicas_.Start(node);
    first.metadata = metadata_.Start();
    worlds_.Add(first, 0);
    uint32_t next = 0;
    for (; next < worlds_.size() && worlds_.size() < bounds_.states_max; ++next) {
      here_ = next;
      const World world = worlds_.At(next);
      if (world.committed != 0) ++report_.committed;
      if (!Check(world) || !CheckRecovery(world)) break;
      if (bounds_.heals && !CheckHeals(world)) break;
      found_.clear();
      Expand(world);
      if (report_.finding) break;
      AddFound(next);
    }
    report_.states = worlds_.size();
    report_.complete = next == worlds_.size() && !report_.finding;
    report_.replica_states = replicas_.size();
    report_.replica_steps = replicas_.steps();
    report_.metadata_states = metadata_.size();
    if (report_.finding) TellWay();
    return report_;
  }

 private:
  struct Found {
    World world;
    const char* step;
    int node;
  };

  static ReplicaNumber& Of(World* world, int node) {
    return world->replicas[static_cast<size_t>(node)];
  }
  static uint16_t& LateAck(World* world, int node) {
    return world->late_acks[static_cast<size_t>(node)];
  }
  const ReplicaView& View(const World& world, int node) const {
    return replicas_.view(world.replicas[static_cast<size_t>(node)]);
  }

  void AddFound(uint32_t parent) {
    report_.transitions += found_.size();
    for (const Found& one : found_) worlds_.Prefetch(one.world);
    for (const Found& one : found_) worlds_.Add(one.world, parent);
  }

  // ---- Steps ----

  using Step = bool (Explorer::*)(World*, int);
  // A step that is taken if that `part` is apart, or if it is not; or in any case.
  struct NamedStep {
    const char* name;
    Step step;
    bool StepsApart::*part = nullptr;
    bool if_apart = false;
  };

  void Expand(const World& world) {
    static constexpr std::array<NamedStep, 15> kSteps = {{
        {"append", &Explorer::Append},
        {"lead", &Explorer::LearnToLead},
        {"follow", &Explorer::FollowAttached, &StepsApart::attaches, false},
        {"learn", &Explorer::LearnToFollow, &StepsApart::attaches, true},
        {"attach", &Explorer::Attach, &StepsApart::attaches, true},
        {"fetch", &Explorer::FetchAcknowledged, &StepsApart::acks, false},
        {"fetch", &Explorer::Fetch, &StepsApart::acks, true},
        {"ack", &Explorer::Acknowledge, &StepsApart::acks, true},
        {"late ack", &Explorer::AcknowledgeLate},
        {"check", &Explorer::CheckIsr},
        {"decide", &Explorer::Decide},
        {"move lead", &Explorer::MoveLead},
        {"session", &Explorer::EndOrResume, &StepsApart::sessions, true},
        {"crash", &Explorer::Crash},
        {"sync", &Explorer::Sync},
    }};
    for (const NamedStep& one : kSteps) {
      if (one.part != nullptr && bounds_.apart.*one.part != one.if_apart) continue;
      for (int node = 0; node < kNodes; ++node) {
        Try(world, one.name, node, one.step);
        if (report_.finding) return;
      }
    }
    if (bounds_.late_acks && !bounds_.apart.acks) ExpandSilently(world);
    if (bounds_.apart.sessions) return;
    for (const MetadataNumber one : metadata_.Outages(world.metadata)) {
      World next = world;
      next.metadata = one;
      Retire(&next);
      found_.push_back({next, "outage", -1});
    }
  }

  // What a follower does last in a reign, or in a life, it may not have acknowledged yet.
  void ExpandSilently(const World& world) {
    for (int node = 0; node < kNodes; ++node) {
      World next = world;
      if (!View(world, node).attached) continue;
      const bool syncs = bounds_.syncing == Syncing::kLater;
      if (!(syncs ? Flush(&next, node) : Fetch(&next, node))) continue;
      if (View(next, node).held == View(world, node).held) continue;
      Try(next, "fetch, lead", node, &Explorer::LearnToLead);
      Try(next, "fetch, follow", node,
          bounds_.apart.attaches ? &Explorer::LearnToFollow : &Explorer::FollowAttached);
      Try(next, "fetch, crash", node, &Explorer::Crash);
      if (report_.finding) return;
    }
  }

  void Try(const World& world, const char* name, int node, Step step) {
    World next = world;
    const bool taken = (this->*step)(&next, node);
    if (!report_.finding) report_.finding = replicas_.TakeFinding();
    if (!report_.finding && taken && NoteCommitted(&next)) {
      DropDeadAcks(&next);
      Retire(&next);
      if (std::memcmp(&next, &world, sizeof(World)) != 0) found_.push_back({next, name, node});
    }
    if (report_.finding) last_step_ = absl::StrCat(name, " ", node + 1);
  }

  bool Become(World* world, int node, const ReplicaTable::Outcome& outcome) {
    Of(world, node) = outcome.next;
    return outcome.taken;
  }

  bool Append(World* world, int node) {
    const ReplicaView& view = View(*world, node);
    if (view.role != Role::kLeader || world->records >= bounds_.records) return false;
    // Only which records are the same decides; the copy is 0 unless the epoch wrote here before.
    int copy = 0;
    for (bool used = true; used; copy += used) {
      const uint8_t record = PackRecord(view.epoch, copy);
      used = RecordAt(logs_[world->committed], view.length) == record;
      for (int other = 0; other < kNodes; ++other) {
        used |= RecordAt(View(*world, other).log, view.length) == record;
      }
    }
    ++world->records;
    return Become(world, node, replicas_.Append(Of(world, node), copy));
  }

  // The latest of the metadata.
  bool LearnToLead(World* world, int node) {
    const MetadataView now = metadata_.view(world->metadata);
    const ReplicaView before = View(*world, node);
    if (now.leader != node + 1) return false;
    const bool in_reign = before.epoch == now.leader_epoch;
    if (in_reign && !now.leader_behind) return false;
    world->metadata = metadata_.TellLeader(world->metadata).value_or(world->metadata);
    if (!in_reign) LeaveAckBehind(world, node, before);
    return Become(world, node, replicas_.Lead(Of(world, node), now.leader_epoch, now.isr));
  }

  bool LearnToFollow(World* world, int node) {
    const MetadataView& now = metadata_.view(world->metadata);
    const ReplicaView before = View(*world, node);
    if (now.leader == node + 1 || before.epoch >= now.leader_epoch) return false;
    LeaveAckBehind(world, node, before);
    return Become(world, node, replicas_.Follow(Of(world, node), now.leader_epoch, now.leader));
  }

  // Until its leader is there it may as well not have heard: whatever it could do meanwhile it can
  // do before.
  bool FollowAttached(World* world, int node) {
    const MetadataView& now = metadata_.view(world->metadata);
    if (now.leader == 0) return false;
    const ReplicaView& leader = View(*world, now.leader - 1);
    if (leader.role != Role::kLeader || leader.epoch != now.leader_epoch) return false;
    return LearnToFollow(world, node) && Attach(world, node) && View(*world, node).attached;
  }

  // Until the follower has what the leader has; what is cut on the way is nobody else's business.
  bool Attach(World* world, int node) {
    bool taken = false;
    while (View(*world, node).asks) {
      const ReplicaView view = View(*world, node);
      const int leader = view.leader - 1;
      const auto answer = replicas_.Attach(Of(world, leader), node, view);
      if (!Become(world, leader, answer)) return taken;
      if (!Become(world, node, replicas_.Answer(Of(world, node), answer))) return false;
      taken = true;
    }
    return taken;
  }

  // Whether it has a leader that leads in its epoch.
  bool IsFollowing(const World& world, const ReplicaView& follower) const {
    if (follower.role != Role::kFollower || follower.leader == 0) return false;
    const ReplicaView& leader = View(world, follower.leader - 1);
    return leader.role == Role::kLeader && leader.epoch == follower.epoch;
  }

  bool Fetch(World* world, int node) {
    const ReplicaView& view = View(*world, node);
    if (!view.attached || !IsFollowing(*world, view)) return false;
    const ReplicaView& leader = View(*world, view.leader - 1);
    const uint8_t record = RecordAt(leader.log, view.length);
    if (record == 0 && leader.high_watermark == view.high_watermark) return false;
    return Become(world, node, replicas_.Fetch(Of(world, node), leader.high_watermark, record));
  }

  bool FetchAcknowledged(World* world, int node) {
    if (!Fetch(world, node)) return false;
    Acknowledge(world, node);
    return true;
  }

  static Progress ProgressOf(const ReplicaView& view) {
    return {.node_epoch = view.node_epoch,
            .epoch = view.epoch,
            .written = view.acked_written,
            .flushed = view.acked_flushed};
  }

  bool Acknowledge(World* world, int node) {
    const ReplicaView& view = View(*world, node);
    if (!view.attached || !IsFollowing(*world, view)) return false;
    const int leader = view.leader - 1;
    return Become(world, leader, replicas_.TakeProgress(Of(world, leader), node, ProgressOf(view)));
  }

  bool AcknowledgeLate(World* world, int node) {
    if (LateAck(world, node) == 0) return false;
    const uint16_t ack = std::exchange(LateAck(world, node), uint16_t{0});
    const int leader = (ack & 3) - 1;
    return Become(world, leader, replicas_.TakeProgress(Of(world, leader), node, UnpackAck(ack)));
  }

  // What a follower has sent and its leader has not heard is on its way when it goes on.
  void LeaveAckBehind(World* world, int node, const ReplicaView& before) {
    if (!bounds_.late_acks || !before.attached || before.held == 0) return;
    LateAck(world, node) = PackAck(before.leader, ProgressOf(before));
  }

  // Those that would change nothing, and never will: the leader has heard as much, or has left that
  // reign (ReplicaTable::CheckFencing).
  void DropDeadAcks(World* world) {
    for (int node = 0; node < kNodes; ++node) {
      const uint16_t ack = LateAck(world, node);
      if (ack == 0) continue;
      const int leader = (ack & 3) - 1;
      const Progress progress = UnpackAck(ack);
      const ReplicaView& view = View(*world, leader);
      const bool ended = view.epoch != progress.epoch || view.role != Role::kLeader;
      const auto heard = replicas_.TakeProgress(Of(world, leader), node, progress);
      const bool changes = heard.taken && heard.next != Of(world, leader);
      if (!changes && !(ended && bounds_.bug == PlantedBug::kOldEpochAckCounts)) {
        LateAck(world, node) = 0;
      }
    }
  }

  // A follower whose leader has left their reign, and a leader whose reign is over and whom nobody
  // follows any more, do nothing that others could see until they hear of another reign. (Such a
  // leader may append; but it may as well have done so before.) What they remember is of no use.
  void Retire(World* world) {
    if (bounds_.bug == PlantedBug::kZombieLeaderServes) return;
    const int epoch = metadata_.view(world->metadata).leader_epoch;
    unsigned followed = 0;
    for (int node = 0; node < kNodes; ++node) {
      const ReplicaView& view = View(*world, node);
      if (LateAck(world, node) != 0) followed |= 1U << ((LateAck(world, node) & 3) - 1);
      if (view.role != Role::kFollower) continue;
      if (IsFollowing(*world, view) || (view.asks && view.epoch == epoch)) {
        followed |= 1U << (view.leader - 1);
      } else {
        Become(world, node, replicas_.GoOffline(Of(world, node)));
      }
    }
    for (int node = 0; node < kNodes; ++node) {
      const ReplicaView& view = View(*world, node);
      if (view.role != Role::kLeader || view.epoch == epoch || Has(followed, node)) continue;
      Become(world, node, replicas_.GoOffline(Of(world, node)));
    }
  }

  bool CheckIsr(World* world, int node) {
    const ReplicaView& view = View(*world, node);
    if (view.role != Role::kLeader || view.proposes) return false;
    // Nobody listens to one that has been replaced; to have proposed only makes it more careful.
    if (metadata_.view(world->metadata).leader_epoch != view.epoch) return false;
    return Become(world, node, replicas_.CheckIsr(Of(world, node)));
  }

  // The metadata service decides on a proposal; the watch tells of it, a refusal the answer.
  bool Decide(World* world, int node) {
    const ReplicaView& view = View(*world, node);
    const MetadataView& now = metadata_.view(world->metadata);
    // An older one changes nothing, and is never asked for again.
    const bool current = Has(now.alive, node) && now.leader == node + 1 &&
                         now.leader_epoch == view.epoch && !now.leader_behind;
    if (!view.proposes || !current) return false;
    for (int other = 0; other < kNodes; ++other) {
      if (!Has(view.proposed, other) || Has(now.isr, other)) continue;
      const bool eligible =
          Has(now.alive, other) &&
          View(*world, other).node_epoch == view.proposed_as[static_cast<size_t>(other)];
      if (!eligible) return Become(world, node, replicas_.Refuse(Of(world, node)));
    }
    return Change(world, metadata_.SetIsr(world->metadata, view.proposed));
  }

  static bool Change(World* world, MetadataTable::Next next) {
    if (next.has_value()) world->metadata = *next;
    return next.has_value();
  }

  // An operator's wish.
  bool MoveLead(World* world, int node) {
    return Change(world, metadata_.MoveLead(world->metadata, node));
  }

  bool EndOrResume(World* world, int node) {
    return Change(world, metadata_.EndOrResume(world->metadata, node));
  }

  // kill -9 or a power loss, and the restart, which proves nothing.
  bool Crash(World* world, int node) {
    if (world->crashes >= bounds_.crashes) return false;
    const bool same = bounds_.bug == PlantedBug::kRestartWithoutIncarnation;
    const auto next = metadata_.Restart(world->metadata, node, same);
    if (!next.has_value() && !same) return false;
    Change(world, next);
    ++world->crashes;
    LeaveAckBehind(world, node, View(*world, node));
    return Become(world, node, replicas_.Crash(Of(world, node)));
  }

  bool Flush(World* world, int node) {
    const ReplicaView& view = View(*world, node);
    if (view.synced == view.length) return false;
    return Become(world, node, replicas_.Sync(Of(world, node)));
  }

  bool Sync(World* world, int node) {
    if (!Flush(world, node)) return false;
    if (!bounds_.apart.acks) Acknowledge(world, node);
    return true;
  }

  // ---- What must hold ----

  bool NoteCommitted(World* world) {
    PackedLog committed = logs_[world->committed];
    int length = LengthOf(committed);
    for (int node = 0; node < kNodes; ++node) {
      const ReplicaView& view = View(*world, node);
      const int known = std::min<int>(view.high_watermark, length);
      if (Prefix(view.log, known) != Prefix(committed, known)) {
        return Report("Matching", "two replicas differ below their high watermarks");
      }
      if (view.high_watermark <= length) continue;
      committed = Prefix(view.log, view.high_watermark);
      length = view.high_watermark;
    }
    if (committed == logs_[world->committed]) return true;
    const auto [it, is_new] =
        log_numbers_.try_emplace(committed, static_cast<uint16_t>(logs_.size()));
    if (logs_.size() > UINT16_MAX) std::abort();  // Bounds far beyond what can be explored.
    if (is_new) logs_.push_back(committed);
    world->committed = it->second;
    return true;
  }

  bool Check(const World& world) {
    const MetadataView& now = metadata_.view(world.metadata);
    if (now.leader != 0 && !Has(now.isr, now.leader - 1)) {
      return Report("LeaderInIsr", absl::StrCat("node ", now.leader));
    }
    const PackedLog committed = logs_[world.committed];
    const int length = LengthOf(committed);
    for (int node = 0; node < kNodes; ++node) {
      const ReplicaView& view = View(world, node);
      for (int other = 0; other < node; ++other) {
        const ReplicaView& it = View(world, other);
        if (it.role == Role::kLeader && view.role == Role::kLeader && it.epoch == view.epoch) {
          return Report("OneLeader", absl::StrCat("two in epoch ", view.epoch));
        }
      }
      if (!Has(now.isr | now.eligible, node)) continue;
      if (view.held < length || Prefix(view.log, length) != committed) {
        return Report("StrongIsr",
                      absl::StrCat("node ", node + 1, " does not hold what is committed"));
      }
      if (!Has(now.isr, node) || now.leader == 0) continue;
      const ReplicaView& leader = View(world, now.leader - 1);
      if (leader.role == Role::kLeader && leader.epoch == now.leader_epoch &&
          leader.high_watermark > view.length) {
        return Report("ValidHw",
                      absl::StrCat("node ", node + 1, " ends below its leader's high watermark"));
      }
    }
    return true;
  }

  // Whichever node is not heard of. With fsync off, a crash may take committed records along, and
  // nobody knows of it.
  bool CheckRecovery(const World& world) {
    if (bounds_.syncing == Syncing::kUnasked && world.crashes > 0) return true;
    const PackedLog committed = logs_[world.committed];
    unsigned holders = 0;
    std::array<MetadataTable::Held, kNodes> held;
    for (int node = 0; node < kNodes; ++node) {
      const ReplicaView& view = View(world, node);
      if (Prefix(view.log, LengthOf(committed)) == committed) holders |= 1U << node;
      held[static_cast<size_t>(node)] = {view.newest_epoch, view.length};
    }
    for (int silent = 0; silent < kNodes; ++silent) {
      if ((holders | 1U << silent) == (1U << kNodes) - 1) continue;
      auto heard = held;
      heard[static_cast<size_t>(silent)] = {};
      const int leader = metadata_.LeaderAfterRecovery(heard);
      if (leader == 0 || Has(holders, leader - 1)) continue;
      return Report("Recovery", absl::StrCat("without node ", silent + 1, " node ", leader,
                                             " would lead, which lacks what is committed"));
    }
    return true;
  }

  // From here on nothing goes wrong, and all that is due happens again and again. (If that takes an
  // election too many, this is too near to the bounds to tell.)
  bool CheckHeals(World world) {
    static constexpr std::array<Step, 8> kDue = {
        &Explorer::LearnToLead, &Explorer::FollowAttached, &Explorer::Attach,   &Explorer::Fetch,
        &Explorer::Acknowledge, &Explorer::Sync,           &Explorer::CheckIsr, &Explorer::Decide};
    for (int node = 0; node < kNodes; ++node) {
      const bool alive = Has(metadata_.view(world.metadata).alive, node);
      if (!alive && !EndOrResume(&world, node)) return true;
    }
    if (metadata_.view(world.metadata).leader == 0) return true;
    World before;
    do {
      before = world;
      for (const Step step : kDue) {
        for (int node = 0; node < kNodes; ++node) {
          World next = world;
          if ((this->*step)(&next, node)) world = next;
        }
      }
    } while (std::memcmp(&before, &world, sizeof(World)) != 0);
    report_.finding = replicas_.TakeFinding();
    const MetadataView& now = metadata_.view(world.metadata);
    const ReplicaView& leader = View(world, now.leader - 1);
    bool well = now.isr == (1U << kNodes) - 1 && leader.high_watermark == leader.length;
    for (int node = 0; node < kNodes; ++node) well &= View(world, node).log == leader.log;
    if (report_.finding) return false;
    report_.healed += well;
    return well || Report("Heals", "not everybody comes back in sync");
  }

  bool Report(const char* invariant, const std::string& what) {
    if (!report_.finding) report_.finding = Finding{invariant, what};
    return false;
  }

  // Which steps led here is found again by taking them again.
  void TellWay() {
    std::vector<uint32_t> path;
    for (uint32_t at = here_; at != 0; at = worlds_.ParentOf(at)) path.push_back(at);
    path.push_back(0);
    std::reverse(path.begin(), path.end());
    for (size_t i = 0; i + 1 < path.size(); ++i) {
      found_.clear();
      const std::optional<Finding> finding = std::exchange(report_.finding, std::nullopt);
      Expand(worlds_.At(path[i]));
      report_.finding = finding;
      for (const Found& one : found_) {
        if (std::memcmp(&one.world, &worlds_.At(path[i + 1]), sizeof(World)) != 0) continue;
        report_.way.push_back(one.node < 0 ? one.step : absl::StrCat(one.step, " ", one.node + 1));
        break;
      }
    }
    if (!last_step_.empty()) report_.way.push_back(last_step_);
  }

  const ExplorationBounds bounds_;
  ExplorationReport report_;
  ReplicaTable replicas_;
  MetadataTable metadata_;
  Worlds worlds_;
  std::vector<Found> found_;     // From the one that is being expanded.
  uint32_t here_ = 0;            // That one.
  std::string last_step_;        // The one that broke a promise, if it left nothing to look at.
  std::vector<PackedLog> logs_;  // That have been committed.
  absl::flat_hash_map<PackedLog, uint16_t> log_numbers_;
};

}  // namespace

ExplorationReport Explore(const ExplorationBounds& bounds) {
  if (!IsWithinReach(bounds)) std::abort();
  return Explorer(bounds).Run();
}

}  // namespace falaj::simulation::data
