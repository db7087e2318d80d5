#include "tests/simulation/data/history.h"

#include "absl/strings/str_cat.h"

namespace falaj::simulation::data {

void History::OnSend(PartitionNumber partition, int writer, int64_t value) {
  ++sends_;
  partitions_[partition].sends[value].writer = writer;
}

void History::OnSent(PartitionNumber partition, int64_t value, Outcome outcome, Offset offset) {
  Send& send = partitions_[partition].sends.at(value);
  send.outcome = outcome;
  send.offset = offset;
}

void History::AddReads(PartitionHistory* history, Reader reader,
                       const std::vector<Batch>& batches) {
  std::vector<Read>& reads = history->reads[reader];
  for (const Batch& batch : batches) {
    if (batch.leader_change) continue;  // Consumers skip it.
    ++reads_;
    const bool sought = history->seeking.erase(reader) > 0;
    const bool follows = !reads.empty() && !sought;
    reads.push_back({.offset = batch.base, .value = batch.value, .follows = follows});
  }
}

void History::OnPoll(PartitionNumber partition, Reader reader, const std::vector<Batch>& batches) {
  AddReads(&partitions_[partition], reader, batches);
}

void History::OnSeek(PartitionNumber partition, Reader reader) {
  partitions_[partition].seeking.insert(reader);
}

void History::OnFinalRead(PartitionNumber partition, Reader reader, Offset log_start,
                          const std::vector<Batch>& batches) {
  PartitionHistory& history = partitions_[partition];
  history.final_from[reader] = log_start;
  AddReads(&history, reader, batches);
}

std::optional<Finding> History::Learn(Offset offset, int64_t value, Log* log) const {
  const auto [there, new_offset] = log->values.emplace(offset, value);
  if (!new_offset && there->second != value) {
    return Finding{"inconsistent offsets", absl::StrCat("offset ", offset, " has the values ",
                                                        there->second, " and ", value)};
  }
  const auto [known, new_value] = log->offsets.emplace(value, offset);
  if (!new_value && known->second != offset && !forgiven_.contains(value)) {
    return Finding{"duplicate", absl::StrCat("value ", value, " is at the offsets ", known->second,
                                             " and ", offset)};
  }
  return std::nullopt;
}

std::optional<Finding> History::BuildLog(const PartitionHistory& history, Log* log) const {
  for (const auto& [value, send] : history.sends) {
    if (send.outcome != Outcome::kAcknowledged) continue;
    if (auto finding = Learn(send.offset, value, log)) return finding;
  }
  for (const auto& [reader, reads] : history.reads) {
    for (const Read& read : reads) {
      if (auto finding = Learn(read.offset, read.value, log)) return finding;
      const auto send = history.sends.find(read.value);
      if (send == history.sends.end()) {
        return Finding{"unknown value", absl::StrCat(read.value, " at ", read.offset)};
      }
      if (send->second.outcome == Outcome::kFailed) {
        return Finding{"aborted read", absl::StrCat("value ", read.value, " at ", read.offset,
                                                    ", whose send had failed")};
      }
    }
  }
  int64_t index = 0;
  for (const auto& [offset, value] : log->values) log->indices[offset] = index++;
  return std::nullopt;
}

std::optional<Finding> History::JudgeReads(const PartitionHistory& history, const Log& log) {
  for (const auto& [reader, reads] : history.reads) {
    for (size_t i = 1; i < reads.size(); ++i) {
      if (!reads[i].follows) continue;
      const int64_t step = log.indices.at(reads[i].offset) - log.indices.at(reads[i - 1].offset);
      if (step == 1) continue;
      return Finding{step < 1 ? "nonmonotonic poll" : "skipped poll",
                     absl::StrCat("reader ", reader, " read offset ", reads[i].offset, " after ",
                                  reads[i - 1].offset)};
    }
  }
  return std::nullopt;
}

std::optional<Finding> History::JudgeSends(const PartitionHistory& history) {
  std::map<int, std::pair<int64_t, Offset>> last;  // Value and offset, by writer.
  for (const auto& [value, send] : history.sends) {
    if (send.outcome != Outcome::kAcknowledged) continue;
    const auto [it, first] = last.try_emplace(send.writer, value, send.offset);
    if (!first && it->second.second >= send.offset) {
      return Finding{"nonmonotonic send",
                     absl::StrCat("value ", value, " is at ", send.offset, ", value ",
                                  it->second.first, ", sent before, at ", it->second.second)};
    }
    it->second = {value, send.offset};
  }
  return std::nullopt;
}

std::optional<Finding> History::JudgeLosses(const PartitionHistory& history, const Log& log) {
  for (const auto& [reader, from] : history.final_from) {
    std::set<Offset> read;  // An offset has one value, or it would have been found before.
    for (const Read& one : history.reads.at(reader)) read.insert(one.offset);
    for (auto it = log.values.lower_bound(from); it != log.values.end(); ++it) {
      const auto& [offset, value] = *it;
      if (read.contains(offset)) continue;
      const bool acknowledged = history.sends.at(value).outcome == Outcome::kAcknowledged;
      return Finding{
          "lost", absl::StrCat("value ", value, acknowledged ? ", acknowledged" : ", read", " at ",
                               offset, ", is not in the final read ", reader)};
    }
  }
  return std::nullopt;
}

std::optional<Finding> History::Judge() const {
  for (const auto& [partition, history] : partitions_) {
    if (exempt_.contains(partition)) continue;
    Log log;
    std::optional<Finding> finding = BuildLog(history, &log);
    // A final read that skips a value has lost it.
    if (!finding) finding = JudgeLosses(history, log);
    if (!finding) finding = JudgeReads(history, log);
    if (!finding) finding = JudgeSends(history);
    if (!finding) continue;
    finding->invariant = absl::StrCat("history: ", finding->invariant);
    finding->what = absl::StrCat("partition ", partition, ": ", finding->what);
    return finding;
  }
  return std::nullopt;
}

}  // namespace falaj::simulation::data
