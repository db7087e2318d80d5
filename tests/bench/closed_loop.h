#ifndef TESTS_BENCH_CLOSED_LOOP_H_
#define TESTS_BENCH_CLOSED_LOOP_H_

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "libs/base/clock.h"
#include "libs/base/random.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::bench {

// What is measured: writes that began and were answered within the window.
struct LoadWindow {
  MonotonicTime begin;
  MonotonicTime end;
};

struct LoadResult {
  std::vector<int64_t> latencies_ns;      // Of the writes that succeeded within the window.
  int64_t acknowledged = 0;               // Of the whole run.
  std::map<std::string, int64_t> errors;  // By message; of the whole run.

  void Merge(LoadResult other) {
    latencies_ns.insert(latencies_ns.end(), other.latencies_ns.begin(), other.latencies_ns.end());
    acknowledged += other.acknowledged;
    for (const auto& [message, count] : other.errors) errors[message] += count;
  }
};

// ClosedLoopClient is one client: it writes its own znode or key, waits for the answer, and writes
// again until the window ends or a write fails. System is one of quorum_systems.h.
//
// Every value begins with a number that goes up by one, so that CheckWritten() can tell whether
// what was acknowledged is there.
//
// Threads: one of gRPC's callback threads at a time, from Run() until `done` is called; before and
// after that the caller's.
template <typename System>
class ClosedLoopClient {
 public:
  static constexpr int kNumberBytes = 20;

  ClosedLoopClient(const std::shared_ptr<grpc::Channel>& channel, int number, size_t value_bytes)
      : path_(absl::StrCat("/bench/client-", number)),
        stub_(System::Service::NewStub(channel)),
        writer_(stub_.get()),
        request_(System::MakeWrite(path_)) {
    Random random(static_cast<uint64_t>(number) + 1);
    std::string value(std::max<size_t>(value_bytes, kNumberBytes), '\0');
    for (char& c : value) c = static_cast<char>(random.Next());
    *System::ValueOf(&request_) = std::move(value);
  }

  absl::Status Prepare() {
    SetNumber(0);
    return System::Create(stub_.get(), path_, *System::ValueOf(&request_));
  }

  // Calls `done` after the last answer.
  void Run(const LoadWindow& window, std::function<void()> done) {
    window_ = window;
    done_ = std::move(done);
    Write();
  }

  // After the last answer: nothing that was acknowledged may be missing, nor anything come back
  // that was never sent. DATA_LOSS if so; another error if the value cannot be read.
  absl::Status CheckWritten() const {
    const absl::StatusOr<std::string> value = System::Read(stub_.get(), path_);
    if (!value.ok()) return value.status();
    const int64_t number = std::atoll(value->substr(0, kNumberBytes).c_str());
    if (number >= acknowledged_ && number <= sent_) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat(path_, " has value ", number, ", acknowledged was ",
                                            acknowledged_, " and sent ", sent_));
  }

  LoadResult TakeResult() { return std::move(result_); }

 private:
  void Write() {
    SetNumber(++sent_);
    began_ = Clock::Real()->MonotonicNow();
    writer_.Write(&request_, [this](const grpc::Status& status) { Answered(status); });
  }

  void Answered(const grpc::Status& status) {
    const MonotonicTime now = Clock::Real()->MonotonicNow();
    if (status.ok()) {
      acknowledged_ = sent_;
      ++result_.acknowledged;
      const bool counts = began_ >= window_.begin && now <= window_.end;
      if (counts) result_.latencies_ns.push_back(now.ns - began_.ns);
    } else {
      ++result_.errors[rpc::FromGrpc(status).ToString()];
    }
    // After an error there is nothing left to measure; RunLoad() reports it.
    if (now < window_.end && status.ok()) return Write();
    writer_.Close(std::move(done_));  // This client may be gone when it returns.
  }

  void SetNumber(int64_t number) {
    const std::string digits = absl::StrFormat("%0*d", kNumberBytes, number);
    System::ValueOf(&request_)->replace(0, kNumberBytes, digits);
  }

  const std::string path_;
  const std::unique_ptr<typename System::Stub> stub_;
  typename System::Writer writer_;
  typename System::Request request_;
  LoadWindow window_;
  std::function<void()> done_;
  MonotonicTime began_;
  int64_t sent_ = 0;
  int64_t acknowledged_ = 0;
  LoadResult result_;
};

}  // namespace falaj::bench

#endif  // TESTS_BENCH_CLOSED_LOOP_H_
