// FakeStorage is a storage node that keeps its batches in memory and does as it is told: refuse,
// hold answers back, break streams. For tests and benchmarks of the gateway.
//
// It leads every partition it is asked for, at the epoch it is told. Batches are not validated,
// only counted and kept (or only counted, as a sink).
//
// Threads: any.
#ifndef SERVICES_GATEWAY_TESTING_FAKE_STORAGE_H_
#define SERVICES_GATEWAY_TESTING_FAKE_STORAGE_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "falaj/internal/v1/storage_service.grpc.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/mutex.h"
#include "libs/replica/producer_states.h"
#include "libs/rpc/server.h"
#include "services/gateway/retry_timer.h"

namespace falaj::gateway {

class FakeStorage {
 public:
  // A sink keeps nothing. Reads return `endless` over and over, if it is set.
  struct Options {
    bool sink = false;
    Bytes endless;                // One batch.
    int64_t endless_records = 0;  // In it.
  };

  FakeStorage() : FakeStorage(Options{}) {}
  explicit FakeStorage(Options options);
  ~FakeStorage();

  void Start();
  void Stop();
  std::string address() const { return address_; }

  // The next `count` appends are refused with `status`.
  void RefuseAppends(const absl::Status& status, int count);
  // The next `count` partitions that are read are refused with `status`; those that wait, too.
  void RefuseReads(const absl::Status& status, int count);
  // While on, appends are carried out but not answered; turning it off answers them.
  void HoldAnswers(bool on);
  // While on, Append streams are accepted but not opened; turning it off opens them.
  void HoldStreams(bool on);
  // The next `count` appends are carried out, and then answered with `status`; before any refusal.
  void ForgetAnswers(const absl::Status& status, int count);
  // Cancels every Append stream.
  void BreakStreams();
  // A bit of every batch it holds flips.
  void DamageBatches();
  // While on, Append streams are answered with what is no AppendResponse.
  void SpoilAnswers(bool on);
  // Moves the log start of every partition.
  void SetLogStart(int64_t offset);

  int appends() const;   // Carried out.
  int messages() const;  // Of Append streams, received.
  int refusals_left() const;
  // What a partition of the first topic that was written to holds, one Bytes a batch.
  std::vector<Bytes> batches(int32_t partition) const;
  int64_t end_offset(int32_t partition) const;
  std::vector<internal::v1::AppendHeader> headers() const;  // Of all appends, refused ones too.
  // How far away the deadline of each Read and FindOffsets was when it came.
  std::vector<absl::Duration> time_left() const;
  // What was asked about partitions, newest last.
  std::vector<internal::v1::ReadPartition> reads() const;
  // Which partitions each Read asked for, in its order.
  std::vector<std::vector<int32_t>> read_calls() const;

 private:
  class Service;
  class AppendStream;
  class ReadCall;
  using PartitionKey = std::pair<std::string, int32_t>;
  struct Stored {
    int64_t base_offset = 0;
    int64_t next_offset = 0;
    Bytes batch;
  };
  struct Partition {
    int64_t log_start = 0;
    int64_t end = 0;
    std::vector<Stored> batches;
    replica::ProducerStates producers;
  };

  // Each under mu_, called by the service's reactors.
  void Append(AppendStream* stream, const Bytes& entry);
  Bytes ReadPartition(const internal::v1::ReadPartition& request, int64_t budget, int64_t* bytes,
                      bool* failed);
  // Whether the log holds the record that was read last, as a real node checks it.
  static absl::Status CheckHolds(const Partition& partition,
                                 const internal::v1::ReadPartition& request);
  void WakeReads();
  const Partition* Find(int32_t partition) const;

  const Options options_;
  std::string address_ = "127.0.0.1:0";
  RetryTimers timers_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<rpc::ServerHost> host_;

  mutable Mutex mu_;  // Guards everything below, and the reactors' state.
  std::map<PartitionKey, Partition> partitions_;
  std::set<AppendStream*> streams_;
  std::set<std::shared_ptr<ReadCall>> waiting_reads_;
  std::vector<internal::v1::AppendHeader> headers_;
  std::vector<absl::Duration> time_left_;
  std::vector<internal::v1::ReadPartition> reads_;
  std::vector<std::vector<int32_t>> read_calls_;
  absl::Status refusal_;
  int refusals_left_ = 0;
  absl::Status forgotten_;
  int forgotten_left_ = 0;
  absl::Status read_refusal_;
  int read_refusals_left_ = 0;
  int appends_ = 0;
  int messages_ = 0;
  bool hold_ = false;
  bool spoil_ = false;
  bool hold_streams_ = false;
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_TESTING_FAKE_STORAGE_H_
