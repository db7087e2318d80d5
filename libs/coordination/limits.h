// Every bound of the coordination tree, in one place. Part of the replicated state machine: members
// with different bounds would decide differently.
#ifndef LIBS_COORDINATION_LIMITS_H_
#define LIBS_COORDINATION_LIMITS_H_

#include <cstddef>
#include <cstdint>

namespace falaj::coordination {

inline constexpr size_t kPathSizeMax = 1'024;  // Bytes.
inline constexpr size_t kPathNamesMax = 32;
inline constexpr size_t kNameSizeMax = 255;      // Bytes.
inline constexpr size_t kDataSizeMax = 1 << 20;  // Of one znode, and of a candidate's value.
inline constexpr size_t kSequenceDigits = 10;    // Appended to the name of a sequential znode.
inline constexpr uint64_t kSequenceMax = 9'999'999'999;

inline constexpr int kMultiOperationsMax = 128;
inline constexpr size_t kMultiSizeMax = 2 << 20;  // Bytes of the encoded request.

inline constexpr int32_t kSessionTimeoutMsMin = 1'000;
inline constexpr int32_t kSessionTimeoutMsMax = 600'000;
inline constexpr int32_t kSessionTimeoutMsDefault = 10'000;
inline constexpr size_t kSessionSecretSize = 16;
inline constexpr size_t kSavedAnswersMax = 16;  // Of one session.
inline constexpr int kKeepSessionsMax = 1'000;  // In one request.

inline constexpr int kStreamWritesMax = 1'000;  // In one frame, with the operations of multis.
inline constexpr size_t kStreamFrameSizeMax = 4 << 20;  // Bytes.

inline constexpr int kWatchesMax = 1'000;  // In one request.
inline constexpr int32_t kChildrenPageDefault = 1'000;
inline constexpr int32_t kChildrenPageMax = 10'000;

// Quotas bound the whole tree. What the cluster itself keeps below /falaj counts, but is never
// refused.
struct Quotas {
  int64_t znodes_max = 1'000'000;
  int64_t data_bytes_max = int64_t{256} << 20;  // Paths and data of all znodes.
  int64_t sessions_max = 100'000;
  int64_t saved_answer_bytes_max = int64_t{256} << 20;  // Of all sessions.
};

}  // namespace falaj::coordination

#endif  // LIBS_COORDINATION_LIMITS_H_
