// What the tests of a replica call by name: the nodes of its partition, a producer, a time.
#ifndef LIBS_REPLICA_REPLICA_TEST_SUPPORT_H_
#define LIBS_REPLICA_REPLICA_TEST_SUPPORT_H_

#include <cstdint>

#include "absl/time/time.h"

#include "libs/base/ids.h"

namespace falaj::replica {

inline constexpr NodeId kSelf{1};
inline constexpr NodeId kTwo{2};
inline constexpr NodeId kThree{3};
inline constexpr absl::Duration kLagMax = absl::Seconds(10);
inline constexpr ProducerId kProducer{7};
inline constexpr int64_t kNow = 1'700'000'000'000;  // Milliseconds since 1970.

}  // namespace falaj::replica

#endif  // LIBS_REPLICA_REPLICA_TEST_SUPPORT_H_
