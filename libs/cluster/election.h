// Who is in sync and who leads: the rules of KIP-966 for one partition, as pure functions over its
// state. Each returns true and raises the partition epoch if it changed something.
#ifndef LIBS_CLUSTER_ELECTION_H_
#define LIBS_CLUSTER_ELECTION_H_

#include <cstdint>
#include <map>

#include "google/protobuf/repeated_field.h"

#include "falaj/internal/v1/cluster.pb.h"

namespace falaj::cluster {

using NodeTable = std::map<int32_t, internal::v1::NodeState>;

// Whether its session has not ended.
bool IsAlive(const NodeTable& nodes, int32_t node_id);
// Whether it is alive and not about to stop: only such a node joins an ISR, and it is preferred as
// a leader.
bool IsStaying(const NodeTable& nodes, int32_t node_id);
bool Contains(const google::protobuf::RepeatedField<int32_t>& list, int32_t value);

// Replaces the ISR. Those who leave it stay eligible while fewer than `min_in_sync` are in it: the
// high watermark cannot move then, so they hold every committed record.
bool SetIsr(const google::protobuf::RepeatedField<int32_t>& isr, int32_t min_in_sync,
            internal::v1::PartitionState* partition);
// Takes a node whose session has ended out of the ISR.
bool LeaveIsr(int32_t node_id, int32_t min_in_sync, internal::v1::PartitionState* partition);
// Takes a node that may have lost records out of the ISR and the ELR.
bool Disqualify(int32_t node_id, internal::v1::PartitionState* partition);
// Takes a node whose copy is damaged out of the ISR and the ELR, and lets another lead if it led.
// The leader epoch rises in any case: the node begins with an empty log, and what a leader knows of
// it must not outlive that (reassignment.h). False, and nothing has changed, if nobody else could
// lead.
bool Depose(const NodeTable& nodes, int32_t node_id, int32_t min_in_sync,
            internal::v1::PartitionState* partition);
// Relieves a node that is about to stop: of the lead if somebody else in sync may have it, and then
// of its place in the ISR if at least `min_in_sync` are in it without the node.
//
// A record is committed when everybody in the ISR has it, so nobody whose end is known should be
// waited for. But below the minimum nothing is committed at all: there the node stays, and writes
// go on for as long as it follows; taking it out would only refuse them sooner. The leader cannot
// leave the ISR it leads; it stays while nobody else can have the lead.
bool Relieve(const NodeTable& nodes, int32_t node_id, int32_t min_in_sync,
             internal::v1::PartitionState* partition);
// Gives the lead to the node if it is staying and in sync.
bool MoveLead(const NodeTable& nodes, int32_t node_id, internal::v1::PartitionState* partition);
// Puts the leader in place whom ClusterState's rule names. Raises the leader epoch if it changes.
bool Elect(const NodeTable& nodes, int32_t min_in_sync, internal::v1::PartitionState* partition);
// Who would lead if it need not hold every committed record; 0: nobody, or there is a leader. The
// first replica that is alive; who is about to stop only if nobody stays, and who is being added,
// and may hold nothing at all, only if no other is alive. While the partition is recovering, nobody
// before all that are alive have said what they hold, and then first whoever holds most.
int32_t UncleanCandidate(const NodeTable& nodes, const internal::v1::PartitionState& partition);
// Lets that one lead, alone in the ISR. The others are eligible no more: what they hold beyond the
// new leader's log is lost. The epoch that begins is remembered as an unclean one.
bool ElectUncleanly(const NodeTable& nodes, internal::v1::PartitionState* partition);

// By how much the epochs of a partition rise when the quorum is recovered: more than there can have
// been changes that the recovered node did not hear of. Leaves room for 2,000 recoveries.
inline constexpr int32_t kEpochsOfHistory = 1 << 20;

// The quorum has been recovered, and nobody knows who is in sync. There is no leader, until enough
// replicas have said what they hold: Elect() then chooses by that, and by nothing else. Who has an
// empty log has said nothing.
void BeginRecovery(internal::v1::PartitionState* partition);
// Takes the word of a replica, in place of an earlier one. False if nobody waits for it.
bool TakeReport(const internal::v1::ReplicaReport& report, internal::v1::PartitionState* partition);
// Whether the partition waits for the word of that node.
bool WantsReport(int32_t node_id, const internal::v1::PartitionState& partition);
// What the node has said does not count any more: it may have lost it since.
bool ForgetReport(int32_t node_id, internal::v1::PartitionState* partition);

}  // namespace falaj::cluster

#endif  // LIBS_CLUSTER_ELECTION_H_
