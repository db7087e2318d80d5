// The two systems that quorum_bench drives, behind one shape, so that both get the same load from
// the same code:
//
//   Stub, Request, Response        of a write
//   Leader(endpoints)              the endpoint that leads, once there is one
//   Create(stub, path, value)      makes the znode or key; it may be there already
//   MakeWrite(path), ValueOf(..)   the request that is sent over and over, and its value
//   Send(stub, context, request, response, done)
//   Read(stub, path)               the value, linearizable
#ifndef TESTS_BENCH_QUORUM_SYSTEMS_H_
#define TESTS_BENCH_QUORUM_SYSTEMS_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "falaj/v1/coordination_service.grpc.pb.h"

#include "etcd/rpc.grpc.pb.h"

namespace falaj::bench {

struct FalajSystem {
  using Service = v1::CoordinationService;
  using Stub = Service::Stub;
  using Request = v1::SetZnodeRequest;
  using Response = v1::SetZnodeResponse;

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

struct EtcdSystem {
  using Service = etcdserverpb::KV;
  using Stub = Service::Stub;
  using Request = etcdserverpb::PutRequest;
  using Response = etcdserverpb::PutResponse;

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
