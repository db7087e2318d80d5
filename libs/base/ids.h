// Strong integer types for everything that counts or names something in Falaj, so that an offset
// can never be passed where a leader epoch is expected.
//
//   Offset end = base + 16;          // ids plus plain integers
//   int64_t records = end - base;    // difference of two ids is a plain integer
//   absl::StrCat("at ", end)         // prints the number
//
// The types are plain values: trivially copyable, ordered, hashable (Abseil), no invariants of
// their own.
#ifndef LIBS_BASE_IDS_H_
#define LIBS_BASE_IDS_H_

#include <array>
#include <compare>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace falaj {

// StrongInt<Tag, Rep> is an integer of its own type. Tag is never defined; it only tells the types
// apart.
template <typename Tag, typename Rep>
class StrongInt {
 public:
  using rep = Rep;

  constexpr StrongInt() = default;
  constexpr explicit StrongInt(Rep value) : value_(value) {}

  constexpr Rep value() const { return value_; }

  // NOLINTNEXTLINE(modernize-use-nullptr): it takes the 0 of an ordering for a pointer.
  friend constexpr auto operator<=>(StrongInt, StrongInt) = default;
  friend constexpr StrongInt operator+(StrongInt id, Rep n) {
    return StrongInt(static_cast<Rep>(id.value_ + n));
  }
  friend constexpr StrongInt operator-(StrongInt id, Rep n) {
    return StrongInt(static_cast<Rep>(id.value_ - n));
  }
  friend constexpr Rep operator-(StrongInt a, StrongInt b) {
    return static_cast<Rep>(a.value_ - b.value_);
  }
  constexpr StrongInt& operator++() {
    ++value_;
    return *this;
  }

  template <typename H>
  friend H AbslHashValue(H state, StrongInt id) {
    return H::combine(std::move(state), id.value_);
  }
  // Lets absl::StrCat print the id.
  // NOLINTNEXTLINE(google-explicit-constructor): it takes what converts by itself.
  operator absl::AlphaNum() const { return absl::AlphaNum(value_); }

 private:
  Rep value_ = 0;
};

using Offset = StrongInt<struct OffsetTag, int64_t>;  // Position of a record; -1 = unknown.
using LeaderEpoch = StrongInt<struct LeaderEpochTag, int32_t>;  // Rises with every leader change.
using PartitionEpoch = StrongInt<struct PartitionEpochTag, int64_t>;  // Rises with every change.
using PartitionIndex = StrongInt<struct PartitionIndexTag, int32_t>;  // 0-based within its topic.
using LocalPartitionId = StrongInt<struct LocalPartitionIdTag, uint32_t>;  // Within one store.
using NodeId = StrongInt<struct NodeIdTag, int32_t>;          // A storage or metadata node; >= 1.
using NodeEpoch = StrongInt<struct NodeEpochTag, int64_t>;    // One incarnation of a storage node.
using SessionId = StrongInt<struct SessionIdTag, int64_t>;    // A session at the metadata service.
using ProducerId = StrongInt<struct ProducerIdTag, int64_t>;  // -1 = none.
using ProducerEpoch = StrongInt<struct ProducerEpochTag, int16_t>;  // -1 = none.
using Sequence = StrongInt<struct SequenceTag, int32_t>;            // -1 = none; wraps to 0.
using Term = StrongInt<struct TermTag, uint64_t>;                   // Raft term.
using LogIndex = StrongInt<struct LogIndexTag, uint64_t>;  // Raft log index; 0 = before the first.

// Uuid is 16 bytes drawn at random (RFC 4122 version 4 when printed): topic ids, cluster ids,
// directory ids.
class Uuid {
 public:
  static constexpr size_t kSize = 16;

  constexpr Uuid() = default;  // The nil UUID.
  // Makes a version-4 UUID from 128 random bits.
  static Uuid FromRandomBits(uint64_t high, uint64_t low);
  // Requires exactly 16 bytes, else kInvalidArgument (INVALID_REQUEST).
  static absl::StatusOr<Uuid> FromBytes(absl::string_view bytes);
  // Parses "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"; kInvalidArgument (INVALID_REQUEST) otherwise.
  static absl::StatusOr<Uuid> Parse(absl::string_view text);

  bool is_nil() const;
  absl::string_view bytes() const {
    return absl::string_view(reinterpret_cast<const char*>(bytes_.data()), kSize);
  }
  std::string ToString() const;

  friend auto operator<=>(const Uuid&, const Uuid&) = default;
  template <typename H>
  friend H AbslHashValue(H state, const Uuid& id) {
    return H::combine(std::move(state), id.bytes_);
  }

 private:
  std::array<uint8_t, kSize> bytes_{};
};

using TopicId = Uuid;

}  // namespace falaj

#endif  // LIBS_BASE_IDS_H_
