// LeadGiver gives the leads of a storage node to other nodes when its disk falls below the hard
// watermark: they can take what producers send.
//
// It asks for an election (elect_leaders), once a second, for each partition that the node led when
// the room ended, to a replica that is in sync, until another node leads. Leads that come to the
// node afterwards it keeps: the disks of the others may be as full, and leads would go round for
// ever. What it has given away it does not take back when there is room again; that is for an
// operator, or a balancer, to wish for.
//
// The storage server owns one, with a thread of its own, as the metadata service may not answer.
#ifndef SERVICES_STORAGE_LEAD_GIVER_H_
#define SERVICES_STORAGE_LEAD_GIVER_H_

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/time/time.h"

#include "libs/base/ids.h"
#include "libs/log/disk_watch.h"
#include "libs/rpc/metadata_channel.h"
#include "services/storage/assignments.h"
#include "services/storage/periodic.h"

namespace falaj::storage {

class LeadGiver {
 public:
  // Nothing is owned; all outlive it.
  LeadGiver(absl::Duration interval, const log::DiskWatch* disk, const Assignments* assignments,
            rpc::MetadataChannel* channel);
  LeadGiver(const LeadGiver&) = delete;
  LeadGiver& operator=(const LeadGiver&) = delete;

 private:
  void Work();

  const log::DiskWatch* const disk_;
  const Assignments* const assignments_;
  rpc::MetadataChannel* const channel_;
  // The epochs led when the room ended, by topic and partition; not set while there is room.
  std::optional<std::map<std::pair<std::string, PartitionIndex>, LeaderEpoch>> led_;
  Periodic work_;  // Last.
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_LEAD_GIVER_H_
