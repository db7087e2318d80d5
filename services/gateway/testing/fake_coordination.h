// FakeCoordination is a metadata node that serves CoordinationService the way a test has laid out:
// it answers, refuses, breaks and stays silent. It keeps no znodes. For tests of the gateway.
//
// Threads: any. A call that stays silent ends when it is cancelled.
#ifndef SERVICES_GATEWAY_TESTING_FAKE_COORDINATION_H_
#define SERVICES_GATEWAY_TESTING_FAKE_COORDINATION_H_

#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "falaj/v1/coordination_service.grpc.pb.h"

#include "libs/base/mutex.h"
#include "libs/rpc/server.h"

namespace falaj::gateway {

class FakeCoordination final : public v1::CoordinationService::Service {
 public:
  FakeCoordination();
  ~FakeCoordination() override;

  const std::string& address() const { return address_; }
  void Stop();   // Breaks what is under way; the port refuses connections.
  void Start();  // Again, on the same port.

  // The next unary calls end so; those after them succeed.
  void Answer(absl::Status status);
  // Unary calls and frames are not answered from now on, or are again.
  void SetSilent(bool silent);
  // The next watch sends these and ends so; watches without a script stay open and silent.
  void ScriptWatch(std::vector<v1::WatchZnodesResponse> messages, absl::Status end);
  // The next KeepSessions stream answers so many frames and then ends so. Others answer all.
  void ScriptKeepSessions(int frames, absl::Status end);
  // The same of StreamWrites.
  void ScriptStreamWrites(int frames, absl::Status end);

  // Answers to frames of writes are so much larger.
  void PadAnswers(size_t bytes);

  // What has come so far.
  std::vector<std::string> calls() const;  // Names of unary methods.
  int cancelled() const;                   // Silent calls, watches included, that were cancelled.
  std::vector<uint64_t> watched_after() const;
  std::vector<int64_t> kept() const;         // First session id of every frame.
  std::vector<std::string> written() const;  // Path of the first write, a set, of every frame.

 private:
  template <typename Request, typename Response>
  grpc::Status Take(const char* method, grpc::ServerContext* context, const Request& request,
                    Response* response);
  // Until the call is cancelled, or SetSilent(false).
  bool StaySilent(grpc::ServerContext* context, bool for_ever);

#define FALAJ_FAKE_UNARY(Method)                                                        \
  grpc::Status Method(grpc::ServerContext* context, const v1::Method##Request* request, \
                      v1::Method##Response* response) override {                        \
    return Take(#Method, context, *request, response);                                  \
  }
  FALAJ_FAKE_UNARY(OpenSession)
  FALAJ_FAKE_UNARY(KeepSession)
  FALAJ_FAKE_UNARY(CloseSession)
  FALAJ_FAKE_UNARY(CreateZnode)
  FALAJ_FAKE_UNARY(GetZnode)
  FALAJ_FAKE_UNARY(SetZnode)
  FALAJ_FAKE_UNARY(DeleteZnode)
  FALAJ_FAKE_UNARY(ListChildren)
  FALAJ_FAKE_UNARY(ExecuteMulti)
  FALAJ_FAKE_UNARY(Campaign)
  FALAJ_FAKE_UNARY(ResignCampaign)
  FALAJ_FAKE_UNARY(GetLeader)
#undef FALAJ_FAKE_UNARY
  grpc::Status WatchZnodes(grpc::ServerContext* context, const v1::WatchZnodesRequest* request,
                           grpc::ServerWriter<v1::WatchZnodesResponse>* writer) override;
  grpc::Status KeepSessions(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::KeepSessionsResponse, v1::KeepSessionsRequest>* stream) override;
  grpc::Status StreamWrites(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::StreamWritesResponse, v1::StreamWritesRequest>* stream) override;

  using StreamScripts = std::deque<std::pair<int, absl::Status>>;
  // Notes every frame and answers as scripted.
  template <typename Request, typename Response>
  grpc::Status AnswerFrames(grpc::ServerContext* context, StreamScripts* scripts,
                            grpc::ServerReaderWriter<Response, Request>* stream);
  void Note(const v1::KeepSessionsRequest& frame, v1::KeepSessionsResponse* answer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Note(const v1::StreamWritesRequest& frame, v1::StreamWritesResponse* answer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  std::string address_ = "127.0.0.1:0";
  std::unique_ptr<rpc::ServerHost> host_;

  mutable Mutex mu_;
  CondVar changed_;
  bool silent_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<absl::Status> answers_ ABSL_GUARDED_BY(mu_);
  std::deque<std::pair<std::vector<v1::WatchZnodesResponse>, absl::Status>> watches_
      ABSL_GUARDED_BY(mu_);
  StreamScripts keep_streams_ ABSL_GUARDED_BY(mu_);
  StreamScripts write_streams_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> calls_ ABSL_GUARDED_BY(mu_);
  int cancelled_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<uint64_t> watched_after_ ABSL_GUARDED_BY(mu_);
  std::vector<int64_t> kept_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> written_ ABSL_GUARDED_BY(mu_);
  size_t padding_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_TESTING_FAKE_COORDINATION_H_
