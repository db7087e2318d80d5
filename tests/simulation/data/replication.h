#ifndef TESTS_SIMULATION_DATA_REPLICATION_H_
#define TESTS_SIMULATION_DATA_REPLICATION_H_

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "falaj/internal/v1/metadata_service.pb.h"

#include "libs/base/ids.h"
#include "libs/base/random.h"
#include "libs/replica/effects.h"
#include "libs/replica/input.h"
#include "tests/simulation/data/shard.h"
#include "tests/simulation/data/world.h"

namespace falaj::simulation::data {

// A frame of a replica stream, from the follower that dialled it.
struct FollowerFrame {
  struct Attach {
    uint64_t index = 0;
    PartitionNumber partition = 0;
    replica::AttachRequest request;
  };
  std::optional<replica::IsrMember> hello;
  int credit = 0;
  std::vector<Attach> attaches;
  std::vector<std::pair<uint64_t, replica::FollowerAck>> acks;  // By index.

  bool empty() const { return !hello && credit == 0 && attaches.empty() && acks.empty(); }
};

// A frame of a replica stream, from the leader.
struct LeaderFrame {
  struct News {
    uint64_t index = 0;
    Offset log_start;
    Offset high_watermark;
    std::vector<Batch> batches;
  };
  struct Attached {
    uint64_t index = 0;
    bool accepted = false;
    replica::AttachAnswer answer;
  };
  std::vector<Attached> attached;
  std::vector<News> news;
};

// Replication is what services/storage has in replica_link, replica_links and replica_stream: one
// stream for each pair of nodes that follows and leads, both ends of it; and the proposals of ISR
// changes.
//
// A stream is in order, and breaks as soon as the network loses a frame of it. Each end notices
// when it does; until then what it sends goes nowhere, and what still comes counts.
class Replication {
 public:
  struct Parts {
    World* world = nullptr;
    StorageNode* node = nullptr;
    Shard* shard = nullptr;
  };

  explicit Replication(uint64_t seed) : random_(seed) {}
  void Start(const Parts& parts);
  // Says hello with this epoch from now on.
  void SetNodeEpoch(NodeEpoch epoch);

  // ---- By the shard ----

  // False if it was dropped.
  bool Attach(PartitionNumber partition, NodeId leader, const replica::AttachRequest& request);
  void Acknowledge(PartitionNumber partition, NodeId leader, const replica::FollowerAck& ack);
  void Consumed(NodeId leader, int batches);
  void Flush();
  void Propose(PartitionNumber partition, const replica::IsrProposal& proposal);
  void ReportDamage(PartitionNumber partition, const Assignment& known);
  void OnPublished(PartitionNumber partition);

  // ---- By the network ----

  void OnFollowerFrame(uint64_t stream, NodeId follower, const FollowerFrame& frame);
  void OnLeaderFrame(uint64_t stream, NodeId leader, const LeaderFrame& frame);
  // The end of a stream has been noticed: by the follower's side, by the leader's.
  void OnLinkBroken(uint64_t stream);
  void OnStreamEnded(uint64_t stream);

  // The process dies: whoever it spoke to notices.
  void Abandon();

 private:
  // The follower's end.
  struct Link {
    uint64_t stream = 0;  // 0: none.
    bool dead = false;    // The network has lost a frame.
    bool broken = false;  // Since the last tick.
    FollowerFrame next;
    std::map<uint64_t, std::pair<PartitionNumber, uint64_t>> attached;  // Partition, attach id.
    std::map<PartitionNumber, uint64_t> indexes;
    std::vector<uint64_t> refused;  // By index; or ended since.
  };
  // The leader's end, of one partition.
  struct Copy {
    PartitionNumber partition = 0;
    LeaderEpoch epoch;
    Offset next;
    Offset sent_log_start;
    Offset sent_high_watermark;
    bool due = false;
  };
  struct Stream {
    NodeId follower;
    replica::IsrMember from;
    bool dead = false;
    int credit = 0;
    std::map<uint64_t, Copy> copies;
    std::map<PartitionNumber, uint64_t> indexes;
    std::map<uint64_t, Copy> over;  // With a planted bug: attaches whose acknowledgements count on.
    std::deque<uint64_t> due;
    LeaderFrame next;
  };

  void Tick();
  void BreakLink(NodeId leader);
  void LoseStream(uint64_t stream, NodeId follower, NodeId leader);
  void TakeAttach(uint64_t stream, const FollowerFrame::Attach& attach);
  void Attached(uint64_t stream, const FollowerFrame::Attach& attach,
                const absl::StatusOr<replica::AttachAnswer>& answer);
  void TakeNews(NodeId leader, Link* link, const LeaderFrame::News& news);
  void MakeDue(Stream* stream, uint64_t index);
  void Drop(Stream* stream, uint64_t index);
  // Null if what is acknowledged under the index counts no more.
  const Copy* FindAcknowledged(const Stream& stream, uint64_t index) const;
  void Push(uint64_t id);
  // False: it waits for credit.
  bool AddNews(Stream* stream, uint64_t index);
  void SendMarks();
  void SendProposals();
  void AnswerProposals(
      const std::vector<std::pair<PartitionNumber, replica::IsrProposal>>& proposals,
      const absl::StatusOr<internal::v1::ExecuteResponse>& response);

  World* world_ = nullptr;
  StorageNode* node_ = nullptr;
  Shard* shard_ = nullptr;
  Random random_;
  NodeEpoch node_epoch_{0};
  std::map<NodeId, Link> links_;
  std::map<uint64_t, Stream> streams_;
  std::vector<std::pair<PartitionNumber, replica::IsrProposal>> proposals_;
  uint64_t proposing_ = 0;  // The command that waits for its answer.
  int ticks_ = 0;
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_REPLICATION_H_
