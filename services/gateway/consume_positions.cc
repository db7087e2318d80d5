#include "services/gateway/consume_positions.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::gateway {
namespace {

// Leaders answer at once when they have not reached an epoch, and are asked again at once: more
// than this goes by between two answers when there is no credit, no room or no leader.
constexpr absl::Duration kDoubtGapMax = absl::Seconds(1);

}  // namespace

absl::Status ConsumePositions::Add(const PartitionName& name, Offset start) {
  if (!positions_.try_emplace(name, Position{start}).second) {
    return MakeError(
        Reason::kInvalidRequest,
        absl::StrCat("partition ", name.partition, " of topic '", name.topic, "' is listed twice"),
        {{"field", "positions"},
         {"topic", name.topic},
         {"partition", absl::StrCat(name.partition)}});
  }
  return absl::OkStatus();
}

absl::Status ConsumePositions::Grant(int64_t bytes) {
  if (bytes < 0) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("a grant of ", bytes, " bytes is negative"),
                     {{"field", "grant.bytes"}, {"value", absl::StrCat(bytes)}});
  }
  if (bytes > kCreditMax || credit_ > kCreditMax - bytes) {
    return MakeError(Reason::kCreditOverflow,
                     absl::StrCat("a grant of ", bytes, " bytes on top of ", credit_,
                                  " exceeds the limit of ", kCreditMax),
                     {{"field", "grant.bytes"},
                      {"value", absl::StrCat(bytes)},
                      {"limit_bytes", absl::StrCat(kCreditMax)}});
  }
  credit_ += bytes;
  return absl::OkStatus();
}

absl::Status ConsumePositions::CheckSubscribed(const PartitionName& name) const {
  if (positions_.contains(name)) return absl::OkStatus();
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("the stream has not subscribed to partition ", name.partition,
                                " of topic '", name.topic, "'"),
                   {{"field", "partitions"},
                    {"topic", name.topic},
                    {"partition", absl::StrCat(name.partition)}});
}

absl::Status ConsumePositions::Seek(const PartitionName& name, Offset to, LeaderEpoch last_epoch) {
  FALAJ_RETURN_IF_ERROR(CheckSubscribed(name));
  Position& position = positions_.at(name);
  position.next = to;
  position.last_epoch = last_epoch;
  position.last_topic = TopicId();
  position.doubted.reset();
  return absl::OkStatus();
}

absl::Status ConsumePositions::SetPaused(const PartitionName& name, bool paused) {
  FALAJ_RETURN_IF_ERROR(CheckSubscribed(name));
  Position& position = positions_.at(name);
  if (std::exchange(position.paused, paused) != paused) position.doubted.reset();
  return absl::OkStatus();
}

std::vector<PartitionName> ConsumePositions::Readable() const {
  std::vector<PartitionName> names;
  if (credit_ <= 0) return names;
  // A stream may have 10,000 partitions, and asks after every answer: numbers are sorted, no names.
  std::vector<std::pair<uint64_t, const PartitionName*>> by_turn;
  for (const auto& [name, position] : positions_) {
    if (!position.paused && !position.asked) by_turn.emplace_back(position.taken, &name);
  }
  std::ranges::stable_sort(by_turn, {}, [](const auto& entry) { return entry.first; });
  names.reserve(by_turn.size());
  for (const auto& [turn, name] : by_turn) names.push_back(*name);
  return names;
}

void ConsumePositions::Ask(const PartitionName& name, const TopicId& topic) {
  Position& position = positions_.at(name);
  position.asked = true;
  position.asked_topic = topic;
}

bool ConsumePositions::MayGoOnIn(const PartitionName& name, const TopicId& topic) const {
  const TopicId& last = positions_.at(name).last_topic;
  return last.is_nil() || last == topic;
}

absl::Duration ConsumePositions::Doubt(const PartitionName& name, bool doubted, MonotonicTime now) {
  std::optional<DoubtSpan>& span = positions_.at(name).doubted;
  if (!doubted) {
    span.reset();
    return absl::ZeroDuration();
  }
  if (!span.has_value() || now - span->last > kDoubtGapMax) span = DoubtSpan{now, now};
  span->last = now;
  return now - span->since;
}

bool ConsumePositions::IsAt(const PartitionName& name, Offset asked) const {
  const Position& position = positions_.at(name);
  return !position.paused && position.next == asked;
}

bool ConsumePositions::Take(const PartitionName& name, Offset asked, Offset next,
                            LeaderEpoch last_epoch, int64_t bytes) {
  if (!IsAt(name, asked)) return false;
  Position& position = positions_.at(name);
  position.next = next;
  position.last_epoch = last_epoch;
  position.last_topic = position.asked_topic;
  position.doubted.reset();
  position.taken = ++turn_;
  credit_ -= bytes;
  return true;
}

}  // namespace falaj::gateway
