// What the tests of the rows of idempotent producers share.
#ifndef LIBS_LOG_PRODUCER_FIXTURE_H_
#define LIBS_LOG_PRODUCER_FIXTURE_H_

#include <algorithm>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "libs/log/store_fixture.h"
#include "libs/record/producer_window.h"

namespace falaj::log {

// A batch of an idempotent producer.
inline BatchWrite MakeProducedWrite(LocalPartitionId id, ProducerId producer, ProducerEpoch epoch,
                                    const record::ProducedBatch& batch, size_t value_bytes = 20) {
  record::BatchBuilder builder;
  for (int i = 0; i < batch.record_count; ++i) {
    builder.Add(/*timestamp_ms=*/1, "key", std::string(value_bytes, 'v'));
  }
  const absl::StatusOr<Bytes> bytes = builder.Build({.base_offset = batch.base,
                                                     .leader_epoch = LeaderEpoch(0),
                                                     .producer_id = producer,
                                                     .producer_epoch = epoch,
                                                     .base_sequence = batch.base_sequence});
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return {.partition = id,
          .base_offset = batch.base,
          .last_offset = batch.end() - 1,
          .max_timestamp_ms = 1,
          .batch = *bytes};
}

// What a window says, without append times: those are not in the log.
inline std::string WindowText(const record::ProducerWindow& window) {
  std::string text = window.empty() ? "" : absl::StrCat("epoch ", window.epoch());
  for (const record::ProducedBatch& batch : window) {
    absl::StrAppend(&text, ", ", batch.base, ":", batch.base_sequence, "+", batch.record_count);
  }
  return text;
}

class ProducerStoreTest : public StoreTest {
 protected:
  // Appends one batch of an idempotent producer, with its row; all but the newest `lag` records of
  // the log count as committed.
  absl::Status AppendProduced(LocalPartitionId id, ProducerId producer, int records,
                              size_t value_bytes = 20, int64_t lag = 0) {
    record::ProducerHistory history;
    FALAJ_ASSIGN_OR_RETURN(const auto rows, store_->LoadProducers(id));
    for (const record::ProducerRow& row : rows) {
      if (row.producer == producer) history = row.history;
    }
    const record::ProducerWindow& window = history.window();
    const record::ProducedBatch batch{
        .base = Get(id).log_end,
        .append_time_ms = clock_.NowMs(),
        .base_sequence = window.empty() ? Sequence(0) : window.next_sequence(),
        .record_count = records};
    history.Append(ProducerEpoch(0), batch, Offset(std::max<int64_t>(0, batch.base - Offset(lag))));
    Round round;
    round.batches.push_back(MakeProducedWrite(id, producer, ProducerEpoch(0), batch, value_bytes));
    round.producers.push_back({id, {producer, history}});
    return store_->Commit(round, /*sync=*/false);
  }
  // The windows of all producers, as the store has them.
  static std::map<int64_t, std::string> StoredWindows(const RocksLogStore& store,
                                                      LocalPartitionId id) {
    std::map<int64_t, std::string> windows;
    const auto rows = store.LoadProducers(id);
    EXPECT_TRUE(rows.ok()) << rows.status();
    if (!rows.ok()) return windows;
    for (const record::ProducerRow& row : *rows) {
      windows[row.producer.value()] = WindowText(row.history.window());
    }
    return windows;
  }
  // The same as they follow from the batches of the log.
  static std::map<int64_t, std::string> WindowsOfLog(const RocksLogStore& store,
                                                     LocalPartitionId id) {
    std::map<ProducerId, record::ProducerWindow> windows;
    const auto read = store.Read(id, Offset(0), Offset(INT64_MAX), SIZE_MAX);
    EXPECT_TRUE(read.ok()) << read.status();
    record::BatchIterator batches(read.ok() ? read->batches : Bytes());
    for (auto batch = batches.Next(); batch.ok() && batch->has_value(); batch = batches.Next()) {
      const record::BatchHeader& header = batches.header();
      if (!record::IsSequenced(header)) continue;
      windows[header.producer_id].Push(header.producer_epoch, record::ToProducedBatch(header, 0));
    }
    std::map<int64_t, std::string> texts;
    for (const auto& [producer, window] : windows) texts[producer.value()] = WindowText(window);
    return texts;
  }
};

}  // namespace falaj::log

#endif  // LIBS_LOG_PRODUCER_FIXTURE_H_
