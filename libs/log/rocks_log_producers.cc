// The rows of idempotent producers. A round writes them with its batches, so they usually fit the
// log; here is what makes them fit where it became shorter, or is not the one they knew: after a
// truncation, and after a power failure that took the newest rows, or the newest batches, but not
// both.
#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rocksdb/iterator.h"

#include "libs/base/status.h"
#include "libs/log/rocks_log_impl.h"
#include "libs/log/rocks_slice.h"

namespace falaj::log {
namespace {

// Gives a batch to the rebuild of its producer, if that asks for it.
void Offer(const record::BatchHeader& header, int64_t append_time_ms,
           std::map<ProducerId, record::HistoryRebuild>* rebuilds) {
  const auto rebuild = rebuilds->find(header.producer_id);
  if (rebuild == rebuilds->end() || !record::IsSequenced(header) ||
      header.base_offset < rebuild->second.from() || header.base_offset >= rebuild->second.to()) {
    return;
  }
  rebuild->second.Add(header.producer_epoch, record::ToProducedBatch(header, append_time_ms));
}

}  // namespace

absl::StatusOr<std::vector<record::ProducerRow>> RocksLogStore::Impl::ReadProducers(
    LocalPartitionId id) const {
  const std::string prefix = ProducerRowPrefix(id);
  const std::string bound = ProducerRowPrefix(id + 1);
  const rocksdb::Slice bound_slice(bound);
  rocksdb::ReadOptions read;
  read.iterate_upper_bound = &bound_slice;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(read, meta_));
  std::vector<record::ProducerRow> rows;
  for (it->Seek(prefix); it->Valid(); it->Next()) {
    const std::optional<MetaKey> key = ParseMetaKey(View(it->key()));
    const auto history = ParseProducerRow(View(it->value()));
    if (!key.has_value() || !history.has_value()) {
      return Corrupt(absl::StrCat("the row of a producer of local partition ", id,
                                  " is malformed or of a newer format"));
    }
    rows.push_back({key->producer, *history});
  }
  FALAJ_RETURN_IF_ERROR(ReadError(it->status()));
  return rows;
}

absl::StatusOr<std::vector<record::ProducerRow>> RocksLogStore::Impl::LoadProducers(
    LocalPartitionId id) const {
  {
    MutexLock lock(&mu_);
    FALAJ_RETURN_IF_ERROR(Find(id).status());
  }
  return ReadProducers(id);
}

// When a batch read from the log was appended. Unless its own timestamps say it, now: a producer is
// then forgotten later than it might be, which does no harm.
int64_t RocksLogStore::Impl::AppendTimeOf(const record::BatchHeader& header) const {
  return header.append_time() ? header.max_timestamp_ms : options_.clock->NowMs();
}

// Gives the batches in [from, to) to those of their producers that are being rebuilt.
absl::Status RocksLogStore::Impl::Replay(LocalPartitionId id, Offset from, Offset to,
                                         Rebuilds* rebuilds) const {
  FALAJ_ASSIGN_OR_RETURN(const ReadPlan plan, PlanRead(id, from, to));
  for (const ReadPiece& piece : plan.pieces) {
    const std::string bound = DataKey(id, std::min(piece.entry.end, to));
    const rocksdb::Slice bound_slice(bound);
    const auto it = NewIterator(*piece.family, /*fill_cache=*/false, &bound_slice);
    const Offset start = std::max({from, piece.entry.first, plan.state.log_start});
    FALAJ_RETURN_IF_ERROR(SeekTo(id, start, piece.entry, it.get()));
    for (; it->Valid(); it->Next()) {
      FALAJ_ASSIGN_OR_RETURN(const StoredBatch batch, ParseStored(id, *it, /*verify=*/true));
      Offer(batch.header, AppendTimeOf(batch.header), rebuilds);
    }
    FALAJ_RETURN_IF_ERROR(ReadError(it->status()));
  }
  return absl::OkStatus();
}

// Adds to `batch` what makes the rows those of a log that lies between `log_start` and `end`, while
// its batches are still there.
absl::Status RocksLogStore::Impl::CutProducers(LocalPartitionId id, Offset end, Offset log_start,
                                               rocksdb::WriteBatch* batch) const {
  FALAJ_ASSIGN_OR_RETURN(const std::vector<record::ProducerRow> rows, ReadProducers(id));
  Rebuilds rebuilds;
  Offset from = end;
  for (const record::ProducerRow& row : rows) {
    if (row.history.window().end_offset() <= end) continue;
    const record::HistoryRebuild rebuild(row.history, end, log_start);
    if (rebuild.from() < rebuild.to()) from = std::min(from, rebuild.from());
    rebuilds.emplace(row.producer, rebuild);
  }
  if (from < end) FALAJ_RETURN_IF_ERROR(Replay(id, from, end, &rebuilds));
  for (const auto& [producer, rebuild] : rebuilds) {
    const record::ProducerHistory history = rebuild.Finish();
    const std::string key = ProducerRowKey(id, producer);
    if (history.window().empty()) {
      batch->Delete(meta_, key);
    } else {
      batch->Put(meta_, key, EncodeProducerRow(history));
    }
  }
  return absl::OkStatus();
}

// The rows of a partition know all batches below `end_seen`: its own row says so and was written
// with them or later. Of batches above it a power failure may have taken the rows.
void RocksLogStore::Impl::NoteLate(LocalPartitionId id, Offset end_seen,
                                   const record::BatchHeader& header) {
  if (header.base_offset < end_seen || !record::IsSequenced(header)) return;
  // As if nothing were committed: what is settled, is so by the row if there is one.
  late_[id][header.producer_id].Append(header.producer_epoch,
                                       record::ToProducedBatch(header, AppendTimeOf(header)),
                                       /*high_watermark=*/Offset(0));
}

// Makes one row know the batches it lacks. True if it knows batches that the log lacks.
absl::StatusOr<bool> RocksLogStore::Impl::RestoreProducer(const MetaKey& key,
                                                          absl::string_view value,
                                                          rocksdb::WriteBatch* cleanup) {
  const std::string row_key = ProducerRowKey(key.partition, key.producer);
  std::optional<record::ProducerHistory> history = ParseProducerRow(value);
  if (!history.has_value()) {
    return Corrupt(absl::StrCat("the row of a producer of local partition ", key.partition,
                                " is malformed or of a newer format"));
  }
  const auto partition = partitions_.find(key.partition);
  if (partition == partitions_.end()) {
    cleanup->Delete(meta_, row_key);
    return false;
  }
  if (const auto late = late_[key.partition].extract(key.producer); !late.empty()) {
    const Offset known = history->window().end_offset();
    const record::ProducerWindow& window = late.mapped().window();
    for (const record::ProducedBatch& batch : window) {
      if (batch.base < history->window().end_offset()) continue;
      history->Append(window.epoch(), batch, /*high_watermark=*/Offset(0));
    }
    if (history->window().end_offset() != known) {
      cleanup->Put(meta_, row_key, EncodeProducerRow(*history));
    }
  }
  return history->window().end_offset() > partition->second->state.log_end;
}

absl::Status RocksLogStore::Impl::RestoreProducers(rocksdb::WriteBatch* cleanup) {
  rocksdb::ReadOptions read;
  read.fill_cache = false;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(read, meta_));
  std::map<LocalPartitionId, State> ahead;
  {
    MutexLock lock(&mu_);
    for (it->Seek(rocksdb::Slice(&kProducerLetter, 1)); it->Valid(); it->Next()) {
      const std::optional<MetaKey> key = ParseMetaKey(View(it->key()));
      if (!key.has_value() || key->letter != kProducerLetter) {
        return Corrupt("a key of the directory is unknown");
      }
      FALAJ_ASSIGN_OR_RETURN(const bool is_ahead,
                             RestoreProducer(*key, View(it->value()), cleanup));
      if (is_ahead) ahead[key->partition] = partitions_.at(key->partition)->state;
    }
    for (const auto& [id, histories] : late_) {  // Those left have no row.
      for (const auto& [producer, history] : histories) {
        cleanup->Put(meta_, ProducerRowKey(id, producer), EncodeProducerRow(history));
      }
    }
    late_.clear();
  }
  FALAJ_RETURN_IF_ERROR(FromRocks(it->status(), options_.directory, "open the store"));
  for (const auto& [id, state] : ahead) {
    FALAJ_RETURN_IF_ERROR(CutProducers(id, state.log_end, state.log_start, cleanup));
  }
  return absl::OkStatus();
}

}  // namespace falaj::log
