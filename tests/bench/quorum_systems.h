// What quorum_bench drives, behind one shape, so that all get the same load from the same code:
//
//   Stub, Request                  of a write
//   Leader(endpoints)              the endpoint that leads, once there is one
//   Create(stub, path, value)      makes the znode or key; it may be there already
//   MakeWrite(path), ValueOf(..)   the request that is sent over and over, and its value
//   Writer(stub)                   one client's way to send it:
//     Write(request, done)         one at a time; `done` comes on gRPC's threads
//     Close(done)                  when nothing is under way; it may be destroyed from `done` on
//   Read(stub, path)               the value, linearizable
#ifndef TESTS_BENCH_QUORUM_SYSTEMS_H_
#define TESTS_BENCH_QUORUM_SYSTEMS_H_

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "falaj/v1/coordination_service.grpc.pb.h"

#include "etcd/rpc.grpc.pb.h"

namespace falaj::bench {

// A call for each write.
template <typename System>
class UnaryWriter {
 public:
  static constexpr absl::Duration kTimeout = absl::Seconds(10);
  using Done = std::function<void(const grpc::Status&)>;

  explicit UnaryWriter(typename System::Stub* stub) : stub_(stub) {}
  void Write(const typename System::Request* request, Done done) {
    context_.emplace();
    context_->set_deadline(absl::ToChronoTime(absl::Now() + kTimeout));
    System::Send(stub_, &*context_, request, &response_, std::move(done));
  }
  void Close(const std::function<void()>& done) { done(); }

 private:
  typename System::Stub* const stub_;
  std::optional<grpc::ClientContext> context_;
  typename System::Response response_;
};

// All writes over one StreamWrites call.
class StreamWriter final
    : private grpc::ClientBidiReactor<v1::StreamWritesRequest, v1::StreamWritesResponse> {
 public:
  static constexpr absl::Duration kTimeout = absl::Minutes(10);  // Of the whole run.
  using Done = std::function<void(const grpc::Status&)>;

  explicit StreamWriter(v1::CoordinationService::Stub* stub) : stub_(stub) {}
  void Write(const v1::SetZnodeRequest* request, Done done);
  void Close(std::function<void()> done);

 private:
  void OnWriteDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  void StepDone();

  v1::CoordinationService::Stub* const stub_;
  grpc::ClientContext context_;
  v1::StreamWritesRequest request_;
  v1::StreamWritesResponse response_;
  bool started_ = false;
  bool finished_ = false;
  std::atomic<int> steps_left_ = 0;  // Of one write: that it was sent, that it was answered.
  Done write_done_;
  std::function<void()> closed_;
};

struct FalajSystem {
  using Service = v1::CoordinationService;
  using Stub = Service::Stub;
  using Request = v1::SetZnodeRequest;
  using Response = v1::SetZnodeResponse;
  using Writer = UnaryWriter<FalajSystem>;

  static absl::StatusOr<std::string> Leader(const std::vector<std::string>& endpoints);
  static absl::Status Create(Stub* stub, const std::string& path, const std::string& value);
  static Request MakeWrite(const std::string& path);
  static std::string* ValueOf(Request* request) { return request->mutable_data(); }
  static void Send(Stub* stub, grpc::ClientContext* context, const Request* request,
                   Response* response, std::function<void(grpc::Status)> done) {
    stub->async()->SetZnode(context, request, response, std::move(done));
  }
  static absl::StatusOr<std::string> Read(Stub* stub, const std::string& path);
};

struct FalajStreamSystem : FalajSystem {
  using Writer = StreamWriter;
};

struct EtcdSystem {
  using Service = etcdserverpb::KV;
  using Stub = Service::Stub;
  using Request = etcdserverpb::PutRequest;
  using Response = etcdserverpb::PutResponse;
  using Writer = UnaryWriter<EtcdSystem>;

  static absl::StatusOr<std::string> Leader(const std::vector<std::string>& endpoints);
  static absl::Status Create(Stub* stub, const std::string& path, const std::string& value);
  static Request MakeWrite(const std::string& path);
  static std::string* ValueOf(Request* request) { return request->mutable_value(); }
  static void Send(Stub* stub, grpc::ClientContext* context, const Request* request,
                   Response* response, std::function<void(grpc::Status)> done) {
    stub->async()->Put(context, request, response, std::move(done));
  }
  static absl::StatusOr<std::string> Read(Stub* stub, const std::string& path);
};

}  // namespace falaj::bench

#endif  // TESTS_BENCH_QUORUM_SYSTEMS_H_
