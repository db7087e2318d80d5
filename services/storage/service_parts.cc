#include "services/storage/service_parts.h"

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::storage {

absl::StatusOr<std::shared_ptr<Partition>> ServiceParts::Find(absl::string_view topic_id,
                                                              int32_t partition) const {
  const absl::StatusOr<Uuid> topic = Uuid::FromBytes(topic_id);
  if (!topic.ok()) return BadField("topic_id", "must be 16 bytes");
  if (partition < 0) return BadField("partition", "must not be negative");
  const PartitionIndex index{partition};
  if (std::shared_ptr<Partition> found = shard->Find({*topic, index})) return found;
  const cluster::ClusterView::Ptr view = assignments->view();
  const cluster::PartitionInfo* info = view->FindPartition(*topic, index);
  const ErrorMetadata where = {{"topic_id", topic->ToString()},
                               {"partition", absl::StrCat(partition)}};
  if (!assignments->applied()) {
    // A process that has just started knows nothing of the cluster yet, and must not deny what
    // there is.
    return MakeError(Reason::kNotLeader,
                     absl::StrCat("node ", node, " does not know yet what it leads"), where);
  }
  if (info == nullptr) {
    return MakeError(Reason::kPartitionNotFound,
                     absl::StrCat("node ", node, " knows no partition ", partition, " of topic ",
                                  topic->ToString()),
                     where);
  }
  return MakeError(Reason::kNotLeader,
                   absl::StrCat("node ", node, " does not lead partition ", partition),
                   {{"leader", absl::StrCat(info->leader.value())},
                    {"leader_epoch", absl::StrCat(info->leader_epoch.value())}});
}

absl::Status NotKnownYet(const PartitionState& state) {
  return WithRetryAfter(
      MakeError(Reason::kLeaderUnavailable,
                absl::StrCat("the leader of epoch ", state.epoch, " does not know yet what is ",
                             "committed above ", state.high_watermark),
                {{"leader_epoch", absl::StrCat(state.epoch.value())},
                 {"high_watermark", absl::StrCat(state.high_watermark.value())}}),
      absl::Milliseconds(100));
}

absl::Status ServiceParts::ExplainRead(const std::shared_ptr<Partition>& partition,
                                       LeaderEpoch epoch, const absl::Status& error) const {
  const PartitionState state = partition->state();
  // The copy may have been dropped meanwhile.
  FALAJ_RETURN_IF_ERROR(Partition::CheckReadable(state, epoch));
  if (ReasonOf(error) != Reason::kCorruptRecord) return error;
  metrics->CountError(error);
  shard->Damaged(partition);
  if (state.in_sync_replicas < 2) return error;
  return MakeError(Reason::kNotLeader, "a record is damaged here; another replica is about to lead",
                   {{"leader", "0"}, {"leader_epoch", absl::StrCat(state.epoch.value())}});
}

absl::Status OffsetOutOfRange(Offset offset, const PartitionState& state) {
  if (offset > state.high_watermark && !state.serving) return NotKnownYet(state);
  return MakeError(Reason::kOffsetOutOfRange,
                   absl::StrCat("offset ", offset, " is not between the log start ",
                                state.log_start, " and the high watermark ", state.high_watermark),
                   {{"offset", absl::StrCat(offset.value())},
                    {"log_start_offset", absl::StrCat(state.log_start.value())},
                    {"high_watermark", absl::StrCat(state.high_watermark.value())}});
}

absl::Status BadField(absl::string_view field, absl::string_view why) {
  return MakeError(Reason::kInvalidRequest, absl::StrCat(field, " ", why),
                   {{"field", std::string(field)}});
}

}  // namespace falaj::storage
