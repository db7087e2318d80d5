// What it means that a leader has not got as far as the leader epoch of the record that a client
// says it has read last.
//
// Either somebody leads at a later epoch, and this gateway and the node have not heard of it: that
// passes. Or the record is in no log there is: the topic was deleted and made again since, or the
// client has made the epoch up. At first sight they are alike. It is taken for the latter when
// every answer of the node has been so, and the gateway has agreed on who leads, for
// kUnreachedWait, and the metadata service has said since the first of them that nothing had
// changed: what it says comes in order, so the gateway knows by then of every epoch that was
// before. A gateway that is cut off, together with a leader that was replaced, must not tell a
// client that its records are lost; nor one that has just come back, and has not heard everything
// yet.
#ifndef SERVICES_GATEWAY_UNREACHED_EPOCH_H_
#define SERVICES_GATEWAY_UNREACHED_EPOCH_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "libs/base/ids.h"
#include "services/gateway/batch_frames.h"
#include "services/gateway/route_table.h"

namespace falaj::gateway {

constexpr absl::Duration kUnreachedWait = absl::Seconds(2);

// True if `error`, the answer to a read after a record of `last_epoch`, is that of a leader whom
// the table knows too, and who has not reached that epoch.
bool IsUnreached(const RouteTable& routes, absl::string_view topic, PartitionIndex partition,
                 LeaderEpoch last_epoch, const absl::Status& error);

// The same, and it has been so for `doubted`, all the time, and that settles it.
bool IsGone(const RouteTable& routes, absl::string_view topic, PartitionIndex partition,
            LeaderEpoch last_epoch, const absl::Status& error, absl::Duration doubted);

// OFFSET_OUT_OF_RANGE, with the bounds of the log that was `read`. There is no diverging_offset:
// nothing is known of where the logs part.
absl::Status RecordUnknown(Offset asked, LeaderEpoch last_epoch, const PartitionRead& read);

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_UNREACHED_EPOCH_H_
