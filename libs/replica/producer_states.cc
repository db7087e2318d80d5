#include "libs/replica/producer_states.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::replica {
namespace {

using record::ProducerHistory;
using record::ProducerRow;
using record::ProducerWindow;

absl::Status OutOfOrder(const ProducerStates::Batch& batch, Sequence expected, bool known) {
  ErrorMetadata metadata = {{"producer_id", absl::StrCat(batch.producer)},
                            {"expected_sequence", absl::StrCat(expected)},
                            {"got_sequence", absl::StrCat(batch.base_sequence)}};
  if (!known) metadata["unknown_producer"] = "true";
  return MakeError(Reason::kOutOfOrderSequence,
                   absl::StrCat("producer ", batch.producer, " epoch ", batch.epoch,
                                known ? "" : ", which is not known here,", " sent sequence ",
                                batch.base_sequence, ", expected is ", expected),
                   metadata);
}

absl::Status Fenced(const ProducerStates::Batch& batch, ProducerEpoch known) {
  return MakeError(
      Reason::kProducerFenced,
      absl::StrCat("producer ", batch.producer, " has epoch ", known, ", after ", batch.epoch),
      {{"producer_id", absl::StrCat(batch.producer)}, {"producer_epoch", absl::StrCat(known)}});
}

absl::Status CheckNumbers(const ProducerStates::Batch& batch) {
  if (batch.epoch.value() >= 0 && batch.base_sequence.value() >= 0 && batch.record_count > 0) {
    return absl::OkStatus();
  }
  return MakeError(
      Reason::kInvalidBatch,
      absl::StrCat("producer ", batch.producer, " sent ", batch.record_count, " records of epoch ",
                   batch.epoch, " from sequence ", batch.base_sequence));
}

// A new producer, or a new epoch of one.
absl::Status CheckBeginning(const ProducerStates::Batch& batch, bool known) {
  if (batch.base_sequence == Sequence(0)) return absl::OkStatus();
  return OutOfOrder(batch, Sequence(0), known);
}

// A batch of a known producer.
absl::StatusOr<ProducerStates::Verdict> CheckKnown(const ProducerStates::Batch& batch,
                                                   const ProducerWindow& window) {
  constexpr ProducerStates::Verdict kNew;
  if (batch.epoch < window.epoch()) return Fenced(batch, window.epoch());
  if (batch.epoch > window.epoch()) {
    FALAJ_RETURN_IF_ERROR(CheckBeginning(batch, /*known=*/true));
    return kNew;
  }
  if (batch.base_sequence == window.next_sequence()) return kNew;
  const auto* const first = window.Find(batch.epoch, batch.base_sequence, batch.record_count);
  if (first == nullptr) return OutOfOrder(batch, window.next_sequence(), /*known=*/true);
  return ProducerStates::Verdict{.duplicate = true,
                                 .base = first->base,
                                 .record_count = first->record_count,
                                 .append_time_ms = first->append_time_ms};
}

}  // namespace

ProducerStates::ProducerStates(const std::vector<ProducerRow>& rows) {
  for (const ProducerRow& row : rows) {
    if (!row.history.window().empty()) histories_[row.producer] = row.history;
  }
}

absl::StatusOr<ProducerStates::Verdict> ProducerStates::Check(const Batch& batch) const {
  if (batch.producer.value() < 0) return Verdict();
  FALAJ_RETURN_IF_ERROR(CheckNumbers(batch));
  const ProducerWindow* const window = Find(batch.producer);
  if (window != nullptr) return CheckKnown(batch, *window);
  FALAJ_RETURN_IF_ERROR(CheckBeginning(batch, /*known=*/false));
  if (histories_.size() < kProducersMax) return Verdict();
  return MakeError(Reason::kQuotaExceeded,
                   absl::StrCat("the partition has ", histories_.size(), " producers"),
                   {{"limit", absl::StrCat(kProducersMax)}});
}

void ProducerStates::Apply(const Batch& batch, const Place& place) {
  // Markers of a transaction have a producer, but no sequence.
  if (batch.producer.value() < 0 || batch.base_sequence.value() < 0) return;
  const auto [it, added] = histories_.try_emplace(batch.producer);
  unwritten_.push_back({.base = place.base,
                        .producer = batch.producer,
                        .before = added ? std::nullopt : std::optional(it->second)});
  it->second.Append(batch.epoch,
                    {.base = place.base,
                     .append_time_ms = place.append_time_ms,
                     .base_sequence = batch.base_sequence,
                     .record_count = batch.record_count},
                    place.high_watermark);
  changed_.insert(batch.producer);
}

void ProducerStates::Written(Offset end) {
  const auto left = std::find_if(unwritten_.begin(), unwritten_.end(),
                                 [end](const Undo& undo) { return undo.base >= end; });
  unwritten_.erase(unwritten_.begin(), left);
  taken_.clear();
  // Should more have been placed than was written, the rows come again: with it, or without.
  for (const Undo& undo : unwritten_) changed_.insert(undo.producer);
}

void ProducerStates::TakeBack(Offset end) {
  while (!unwritten_.empty() && unwritten_.back().base >= end) {
    const Undo& undo = unwritten_.back();
    if (undo.before.has_value()) {
      histories_[undo.producer] = *undo.before;
    } else {
      histories_.erase(undo.producer);
    }
    unwritten_.pop_back();
  }
  // Also those that did not change back, as Expire() had forgotten them: the rows are still there.
  changed_.merge(taken_);
  taken_.clear();
}

size_t ProducerStates::Expire(int64_t now_ms, absl::Duration silence) {
  std::vector<std::pair<int64_t, ProducerId>> by_age;
  by_age.reserve(histories_.size());
  for (const auto& [producer, history] : histories_) {
    by_age.emplace_back(history.window().newest().append_time_ms, producer);
  }
  std::sort(by_age.begin(), by_age.end());
  // Room for new ones before the limit is reached, so that they need not wait for the next time.
  constexpr size_t kRoomy = kProducersMax / 10 * 9;
  const int64_t silence_ms = absl::ToInt64Milliseconds(silence);
  const int64_t silence_min_ms = absl::ToInt64Milliseconds(kProducerSilenceMin);
  size_t gone = 0;
  for (const auto& [last_ms, producer] : by_age) {
    const bool too_many = by_age.size() - gone > kRoomy;
    if (now_ms - last_ms <= (too_many ? std::min(silence_ms, silence_min_ms) : silence_ms)) break;
    histories_.erase(producer);
    changed_.insert(producer);
    ++gone;
  }
  return gone;
}

void ProducerStates::ForgetAll() {
  for (const auto& [producer, history] : histories_) changed_.insert(producer);
  histories_.clear();
}

std::vector<ProducerRow> ProducerStates::TakeRows() {
  std::vector<ProducerRow> rows;
  rows.reserve(changed_.size());
  for (const ProducerId producer : changed_) {
    const auto it = histories_.find(producer);
    rows.push_back({producer, it == histories_.end() ? ProducerHistory() : it->second});
  }
  taken_.merge(changed_);
  changed_.clear();
  return rows;
}

std::vector<ProducerRow> ProducerStates::Rows() const {
  std::vector<ProducerRow> rows;
  rows.reserve(histories_.size());
  for (const auto& [producer, history] : histories_) rows.push_back({producer, history});
  return rows;
}

const ProducerWindow* ProducerStates::Find(ProducerId producer) const {
  const auto it = histories_.find(producer);
  return it == histories_.end() ? nullptr : &it->second.window();
}

}  // namespace falaj::replica
