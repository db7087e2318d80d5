// Where the replicas of one partition shall be, and how they get there: the rules of KIP-455, as
// pure functions over its state. Those that return a bool say whether they changed something, and
// then they have raised the partition epoch.
//
//            SetTarget                 all that are added are in sync, and enough of the target
//   settled ───────────▶ reassigning ─────────────────────────────────────────────────────────▶
//   settled at the target
//      ▲                      │ SetTarget with the replicas of before
//      └──────────────────────┘
//
// Whenever a replica leaves, the leader epoch rises even if the leader stays. What a leader knows
// of a follower would otherwise outlive a removal that it did not notice: the node drops its copy,
// is added again, and would pass for in sync by what it once acknowledged.
#ifndef LIBS_CLUSTER_REASSIGNMENT_H_
#define LIBS_CLUSTER_REASSIGNMENT_H_

#include <cstdint>

#include "google/protobuf/repeated_field.h"

#include "falaj/internal/v1/cluster.pb.h"

#include "libs/cluster/election.h"

namespace falaj::cluster {

bool IsReassigning(const internal::v1::PartitionState& partition);
// The replicas without those that are being added: where a cancellation goes back to.
google::protobuf::RepeatedField<int32_t> SettledReplicas(
    const internal::v1::PartitionState& partition);
// The target of the reassignment, or else the replicas: what the nodes will carry in the end.
const google::protobuf::RepeatedField<int32_t>& WantedReplicas(
    const internal::v1::PartitionState& partition);

// Whether this target leaves as many of those who are known to hold every committed record, in sync
// or eligible, as writes need, or all of them if there are fewer. Else a leader that has not heard
// of it yet would answer for copies that are being dropped, and the loss of fewer machines than
// were promised would be the loss of records. Requires of a target here and below: not empty,
// distinct.
bool KeepsCommitted(const internal::v1::PartitionState& partition, int32_t min_in_sync,
                    const google::protobuf::RepeatedField<int32_t>& target);
// Sets out for `target`, in place of whatever the partition is on its way to: those that were being
// added and are not wanted any more leave at once. Requires: KeepsCommitted().
bool SetTarget(const NodeTable& nodes, int32_t min_in_sync,
               const google::protobuf::RepeatedField<int32_t>& target,
               internal::v1::PartitionState* partition);
// Settles at the target if nothing is missing: all that are added are in sync, and of the target as
// many as writes need. Whoever is not in the target leaves the replicas, and the lead moves on if
// it was with one of them.
bool Settle(const NodeTable& nodes, int32_t min_in_sync, internal::v1::PartitionState* partition);

}  // namespace falaj::cluster

#endif  // LIBS_CLUSTER_REASSIGNMENT_H_
