// A coordination tree of the size Falaj promises to carry: many znodes, many sessions kept alive.
//
//   session_load --endpoints=127.0.0.1:7400,127.0.0.1:7410,127.0.0.1:7420
//
// Fills the tree, opens the sessions, prints a line of JSON, and keeps the sessions alive over a
// few KeepSessions streams, as gateways do for their clients, until its standard input ends. Then
// prints what became of them, and exits 1 if one expired or an answer failed.
// tests/bench/coordination_state.sh measures the servers meanwhile.
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/log.h"
#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/process.h"
#include "libs/rpc/status_grpc.h"
#include "tests/bench/quorum_systems.h"

ABSL_FLAG(std::vector<std::string>, endpoints, {}, "host:port of every metadata node.");
ABSL_FLAG(int32_t, znodes, 100'000, "Znodes to create.");
ABSL_FLAG(int32_t, value_bytes, 200, "Bytes of data of each.");
ABSL_FLAG(int32_t, sessions, 10'000, "Sessions to open and keep alive.");
ABSL_FLAG(int32_t, sessions_per_stream, 1'000, "Sessions that share a stream and its requests.");
ABSL_FLAG(absl::Duration, timeout, absl::Seconds(10), "Of a session; heartbeats come in a third.");

namespace falaj::bench {
namespace {

using Stub = v1::CoordinationService::Stub;

constexpr int kZnodesPerMulti = 100;

// What all streams share.
class Progress {
 public:
  void Ready() {
    MutexLock lock(&mu_);
    ++ready_;
    changed_.NotifyAll();
  }
  void Stop() {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  void AwaitReady(int streams) {
    MutexLock lock(&mu_);
    while (ready_ < streams) changed_.Wait(&mu_);
  }
  // False: stop.
  bool AwaitBeat(MonotonicTime beat) {
    MutexLock lock(&mu_);
    while (!stopping_) {
      const absl::Duration wait = beat - Clock::Real()->MonotonicNow();
      if (wait <= absl::ZeroDuration()) return true;
      changed_.WaitFor(&mu_, wait);
    }
    return false;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  int ready_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

// One gateway's worth of sessions, and its share of the znodes.
class SessionStream {
 public:
  SessionStream(const std::string& leader, int number)
      : number_(number),
        stub_(v1::CoordinationService::NewStub(rpc::MakeChannel(leader, {.lane = number}))) {}

  absl::Status Run(int znodes, int sessions, Progress* progress) {
    absl::Status filled = Fill(znodes);
    if (filled.ok()) filled = OpenSessions(sessions);
    progress->Ready();  // Even so, or nobody would go on.
    FALAJ_RETURN_IF_ERROR(filled);
    while (progress->AwaitBeat(next_beat_)) FALAJ_RETURN_IF_ERROR(Beat());
    stream_->WritesDone();
    return rpc::FromGrpc(stream_->Finish());
  }

  const std::vector<int64_t>& latencies_ns() const { return latencies_ns_; }
  int64_t ended() const { return ended_; }

 private:
  absl::Status Fill(int znodes) {
    const std::string parent = absl::StrCat("/load/", number_);
    FALAJ_RETURN_IF_ERROR(FalajSystem::Create(stub_.get(), parent, ""));
    const std::string data(static_cast<size_t>(absl::GetFlag(FLAGS_value_bytes)), 'x');
    for (int made = 0; made < znodes;) {
      v1::ExecuteMultiRequest request;
      for (; made < znodes && request.operations_size() < kZnodesPerMulti; ++made) {
        v1::CreateZnodeRequest* const create = request.add_operations()->mutable_create();
        create->set_path(absl::StrCat(parent, "/znode-", made));
        create->set_data(data);
      }
      grpc::ClientContext context;
      v1::ExecuteMultiResponse response;
      FALAJ_RETURN_IF_ERROR(rpc::FromGrpc(stub_->ExecuteMulti(&context, request, &response)));
    }
    return absl::OkStatus();
  }

  // The first ones must be kept alive while the last ones are opened.
  absl::Status OpenSessions(int count) {
    stream_ = stub_->KeepSessions(&context_);
    next_beat_ = Clock::Real()->MonotonicNow() + absl::GetFlag(FLAGS_timeout) / 3;
    for (int opened = 0; opened < count; ++opened) {
      if (Clock::Real()->MonotonicNow() >= next_beat_) FALAJ_RETURN_IF_ERROR(Beat());
      v1::OpenSessionRequest request;
      const int64_t ms = absl::ToInt64Milliseconds(absl::GetFlag(FLAGS_timeout));
      request.mutable_timeout()->set_seconds(ms / 1000);
      request.mutable_timeout()->set_nanos(static_cast<int32_t>(ms % 1000) * 1'000'000);
      grpc::ClientContext context;
      v1::OpenSessionResponse response;
      FALAJ_RETURN_IF_ERROR(rpc::FromGrpc(stub_->OpenSession(&context, request, &response)));
      *sessions_.add_sessions() = response.session();
    }
    return absl::OkStatus();
  }

  absl::Status Beat() {
    const MonotonicTime sent = Clock::Real()->MonotonicNow();
    v1::KeepSessionsResponse response;
    if (!stream_->Write(sessions_) || !stream_->Read(&response)) {
      return rpc::FromGrpc(stream_->Finish());
    }
    latencies_ns_.push_back(Clock::Real()->MonotonicNow().ns - sent.ns);
    ended_ = std::max<int64_t>(
        ended_, response.expired_session_ids_size() + response.mismatched_session_ids_size());
    next_beat_ = sent + absl::GetFlag(FLAGS_timeout) / 3;
    return absl::OkStatus();
  }

  const int number_;
  const std::unique_ptr<Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::KeepSessionsRequest, v1::KeepSessionsResponse>>
      stream_;
  v1::KeepSessionsRequest sessions_;
  MonotonicTime next_beat_;
  std::vector<int64_t> latencies_ns_;
  int64_t ended_ = 0;  // Of the sessions; those that ended stay ended.
};

void ReportFilled(MonotonicTime begin) {
  absl::PrintF("{\"znodes\": %d, \"sessions\": %d, \"fill_seconds\": %.1f}\n",
               absl::GetFlag(FLAGS_znodes), absl::GetFlag(FLAGS_sessions),
               absl::ToDoubleSeconds(Clock::Real()->MonotonicNow() - begin));
  std::fflush(stdout);
}

// True if all is well.
bool ReportKept(const std::vector<std::unique_ptr<SessionStream>>& streams,
                const std::vector<absl::Status>& outcomes) {
  std::vector<int64_t> latencies;
  int64_t ended = 0;
  for (const auto& stream : streams) {
    latencies.insert(latencies.end(), stream->latencies_ns().begin(), stream->latencies_ns().end());
    ended += stream->ended();
  }
  std::sort(latencies.begin(), latencies.end());
  int failed = 0;
  for (const absl::Status& outcome : outcomes) {
    if (outcome.ok()) continue;
    ++failed;
    log::Error("a stream of heartbeats failed", {{"error", outcome}});
  }
  const double longest = latencies.empty() ? 0 : static_cast<double>(latencies.back()) / 1e6;
  absl::PrintF(
      "{\"requests\": %d, \"sessions_ended\": %d, \"streams_failed\": %d, "
      "\"longest_answer_ms\": %.3f}\n",
      latencies.size(), ended, failed, longest);
  return ended == 0 && failed == 0 && !latencies.empty();
}

int Run() {
  const absl::StatusOr<std::string> leader = FalajSystem::Leader(absl::GetFlag(FLAGS_endpoints));
  if (!leader.ok()) {
    log::Error("no leader", {{"error", leader.status()}});
    return 1;
  }
  const MonotonicTime begin = Clock::Real()->MonotonicNow();
  const int sessions = absl::GetFlag(FLAGS_sessions);
  const int each = std::max(1, absl::GetFlag(FLAGS_sessions_per_stream));
  const int count = std::max(1, (sessions + each - 1) / each);
  std::vector<std::unique_ptr<SessionStream>> streams;
  for (int i = 0; i < count; ++i) streams.push_back(std::make_unique<SessionStream>(*leader, i));
  std::vector<absl::Status> outcomes(streams.size());
  Progress progress;
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    const int mine = std::min(each, sessions - i * each);
    threads.emplace_back([&, i, mine] {
      const auto index = static_cast<size_t>(i);
      outcomes[index] =
          streams[index]->Run(absl::GetFlag(FLAGS_znodes) / count, std::max(0, mine), &progress);
    });
  }
  progress.AwaitReady(count);
  ReportFilled(begin);
  for (std::string line; std::getline(std::cin, line);) continue;
  progress.Stop();
  for (std::thread& thread : threads) thread.join();
  return ReportKept(streams, outcomes) ? 0 : 1;
}

}  // namespace
}  // namespace falaj::bench

int main(int argc, char** argv) {
  falaj::rpc::TuneProcess();
  absl::ParseCommandLine(argc, argv);
  falaj::log::Configure({.level_min = falaj::log::Level::kWarning, .component = "bench"});
  return falaj::bench::Run();
}
