#ifndef SERVICES_METADATA_ROUND_METER_H_
#define SERVICES_METADATA_ROUND_METER_H_

#include <optional>

#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/telemetry/registry.h"

namespace falaj::metadata {

// RoundMeter measures for how long others wait for a node: its stops, the times in which nothing
// that came in would be taken in. A round is a stop, from its beginning to its end; if it waits for
// the disk and the relief takes over, that ends the stop, and the relief's rounds are stops of
// their own. What is left of the wait once the relief may do no more is a stop again, which the end
// of the node's round ends.
//
// RaftNode owns one. Threads: none; one thread at a time. Times are arguments.
class RoundMeter {
 public:
  explicit RoundMeter(telemetry::Registry* registry);

  // A round begins.
  void Begin(MonotonicTime now);
  // And ends, or the relief has taken over: what comes in is taken in from now on.
  void End(MonotonicTime now);
  // The node begins to wait for its disk; and the node's thread is back. The relief may have done
  // something until `relief_until`.
  void DiskBegins(MonotonicTime now) { on_disk_since_ = now; }
  void DiskEnds(MonotonicTime now, MonotonicTime relief_until);

 private:
  struct Longest {
    absl::Duration present;  // Of the present window...
    absl::Duration before;   // ...and of the one before it.
  };

  telemetry::Histogram* const seconds_;
  telemetry::Gauge* const longest_seconds_;
  telemetry::Gauge* const longest_off_disk_seconds_;

  std::optional<MonotonicTime> stopped_since_;
  absl::Duration on_disk_;                      // Of the present stop.
  std::optional<MonotonicTime> on_disk_since_;  // Of the present stop, too.
  MonotonicTime ended_;                         // The last stop.
  Longest longest_;
  Longest longest_off_disk_;     // Without the time on disk.
  MonotonicTime longest_until_;  // The present window's end.
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_ROUND_METER_H_
