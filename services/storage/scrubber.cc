#include "services/storage/scrubber.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "services/storage/reader_pool.h"

namespace falaj::storage {
namespace {

constexpr size_t kReadBytes = 1 << 20;
// What a read costs at least, however little it brings: many small partitions are many seeks.
constexpr int64_t kReadCostMin = 64 << 10;
constexpr absl::Duration kRestMin = absl::Milliseconds(10);
constexpr absl::Duration kRestMax = absl::Minutes(1);
constexpr absl::Duration kSaveInterval = absl::Minutes(1);
// Between two looks whether the shard hosts what is damaged by now.
constexpr absl::Duration kTellInterval = absl::Seconds(1);

}  // namespace

Scrubber::Scrubber(Options options, const Parts& parts)
    : options_(std::move(options)),
      parts_(parts),
      pace_(options_.bytes_per_second),
      plan_(options_.period, Load()),
      thread_([this] { Run(); }) {}

Scrubber::~Scrubber() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  thread_.join();
}

void Scrubber::Run() {
  ReaderPool::StepBack();
  Save();
  while (true) {
    const absl::Duration rest = Step();
    MutexLock lock(&mu_);
    // A spurious wake-up does no harm: the pace is looked at again.
    if (!stopping_ && rest > absl::ZeroDuration()) wake_.WaitFor(&mu_, rest);
    if (stopping_) break;
  }
  if (!parts_.shard->failed()) Save();
}

absl::Duration Scrubber::Step() {
  if (parts_.shard->failed() || !plan_.Due(parts_.clock->Now())) {
    return std::clamp(options_.period / 10, kRestMin, kRestMax);
  }
  const MonotonicTime now = parts_.clock->MonotonicNow();
  if (now - told_at_ >= kTellInterval) TellOfDamage();
  const absl::Duration wait = pace_.UntilMayBegin(now);
  if (wait > absl::ZeroDuration()) return wait;
  if (plan_.NeedsPartitions()) {
    std::vector<LocalPartitionId> all;
    for (const log::StoredPartition& stored : parts_.store->ListPartitions()) {
      all.push_back(stored.id);
    }
    plan_.Begin(std::move(all));
  }
  const std::optional<ScrubPlan::Place> place = plan_.Next();
  if (place.has_value()) {
    Read(*place);
  } else {
    plan_.Complete(parts_.clock->Now());
    log::Info("all that is on the disk has been read again");
  }
  parts_.metrics->scrub_completed()->Set(static_cast<double>(plan_.position().completed_ms) / 1000);
  if (!place.has_value() || now - saved_at_ >= kSaveInterval) Save();
  return absl::ZeroDuration();
}

void Scrubber::Read(const ScrubPlan::Place& place) {
  const auto stored = parts_.store->GetPartition(place.partition);
  if (!stored.ok()) return plan_.Leave();
  const Offset from = std::max(place.from, stored->log_start);
  if (from >= stored->log_end) return plan_.Leave();
  const auto read = parts_.store->Read(place.partition, from, stored->log_end, kReadBytes);
  const auto bytes = read.ok() ? static_cast<int64_t>(read->batches.size()) : int64_t{0};
  pace_.Charge(std::max(bytes, kReadCostMin));
  parts_.metrics->scrubbed_bytes()->Add(bytes);
  if (!read.ok() && !NoteDamage(place.partition, read.status()) &&
      untold_.emplace(place.partition, read.status()).second) {
    log::Error("damage in a partition that this node does not host",
               {{"topic_id", stored->key.topic.ToString()},
                {"partition", stored->key.partition},
                {"error", read.status()}});
  }
  if (!read.ok() || read->next_offset <= from) return plan_.Leave();
  plan_.Advance(read->next_offset);
}

void Scrubber::TellOfDamage() {
  told_at_ = parts_.clock->MonotonicNow();
  for (auto it = untold_.begin(); it != untold_.end();) {
    const bool dropped = !parts_.store->GetPartition(it->first).ok();
    it = dropped || NoteDamage(it->first, it->second) ? untold_.erase(it) : std::next(it);
  }
}

bool Scrubber::NoteDamage(LocalPartitionId id, const absl::Status& error) {
  if (ReasonOf(error) != Reason::kCorruptRecord) return true;  // It has been dropped meanwhile.
  if (damaged_.contains(id)) return true;
  for (const std::shared_ptr<Partition>& partition : parts_.shard->List()) {
    if (partition->id() != id) continue;
    log::Error("damage in data that nobody has read", {{"topic", partition->topic()},
                                                       {"partition", partition->key().partition},
                                                       {"error", error}});
    parts_.metrics->scrub_damaged_partitions()->Add();
    parts_.shard->Damaged(partition);
    damaged_.insert(id);
    return true;
  }
  return false;
}

ScrubPosition Scrubber::Load() const {
  std::ifstream in(options_.position_file, std::ios::binary);
  std::ostringstream text;
  if (in) text << in.rdbuf();
  return ParseScrubPosition(text.str())
      .value_or(ScrubPosition{.since_ms = parts_.clock->NowMs(), .partition = {}, .offset = {}});
}

// What is read meanwhile, or instead, is the old position or none: both will do.
void Scrubber::Save() {
  saved_at_ = parts_.clock->MonotonicNow();
  if (plan_.position() == saved_) return;
  const std::string next = options_.position_file + ".new";
  std::ofstream out(next, std::ios::binary | std::ios::trunc);
  out << FormatScrubPosition(plan_.position());
  out.close();
  std::error_code error;
  if (out) std::filesystem::rename(next, options_.position_file, error);
  if (out && !error) {
    saved_ = plan_.position();
  } else {
    log::Warning("cannot write where the scrubber stands", {{"file", next}});
  }
}

}  // namespace falaj::storage
