#include "services/gateway/testing/fake_coordination.h"

#include <cstdlib>

#include "libs/rpc/status_grpc.h"

namespace falaj::gateway {
namespace {

constexpr absl::Duration kCancelCheck = absl::Milliseconds(2);

}  // namespace

FakeCoordination::FakeCoordination() { Start(); }

FakeCoordination::~FakeCoordination() { Stop(); }

void FakeCoordination::Start() {
  auto host = rpc::ServerHost::Start({.listen_address = address_}, {this}, nullptr);
  if (!host.ok()) std::abort();
  host_ = *std::move(host);
  address_ = host_->address();
}

void FakeCoordination::Stop() {
  if (host_ != nullptr) host_->Stop(absl::ZeroDuration());
  host_.reset();
}

void FakeCoordination::Answer(absl::Status status) {
  MutexLock lock(&mu_);
  answers_.push_back(std::move(status));
}

void FakeCoordination::SetSilent(bool silent) {
  MutexLock lock(&mu_);
  silent_ = silent;
  changed_.NotifyAll();
}

void FakeCoordination::ScriptWatch(std::vector<v1::WatchZnodesResponse> messages,
                                   absl::Status end) {
  MutexLock lock(&mu_);
  watches_.emplace_back(std::move(messages), std::move(end));
}

void FakeCoordination::ScriptKeepSessions(int frames, absl::Status end) {
  MutexLock lock(&mu_);
  keep_streams_.emplace_back(frames, std::move(end));
}

void FakeCoordination::ScriptStreamWrites(int frames, absl::Status end) {
  MutexLock lock(&mu_);
  write_streams_.emplace_back(frames, std::move(end));
}

void FakeCoordination::PadAnswers(size_t bytes) {
  MutexLock lock(&mu_);
  padding_ = bytes;
}

std::vector<std::string> FakeCoordination::calls() const {
  MutexLock lock(&mu_);
  return calls_;
}

int FakeCoordination::cancelled() const {
  MutexLock lock(&mu_);
  return cancelled_;
}

std::vector<uint64_t> FakeCoordination::watched_after() const {
  MutexLock lock(&mu_);
  return watched_after_;
}

std::vector<int64_t> FakeCoordination::kept() const {
  MutexLock lock(&mu_);
  return kept_;
}

std::vector<std::string> FakeCoordination::written() const {
  MutexLock lock(&mu_);
  return written_;
}

bool FakeCoordination::StaySilent(grpc::ServerContext* context, bool for_ever) {
  MutexLock lock(&mu_);
  while ((silent_ || for_ever) && !context->IsCancelled()) changed_.WaitFor(&mu_, kCancelCheck);
  if (!context->IsCancelled()) return false;
  ++cancelled_;
  return true;
}

template <typename Request, typename Response>
grpc::Status FakeCoordination::Take(const char* method, grpc::ServerContext* context,
                                    const Request& request, Response* response) {
  {
    MutexLock lock(&mu_);
    calls_.push_back(method);
    if (!answers_.empty()) {
      const absl::Status answer = std::move(answers_.front());
      answers_.pop_front();
      if (!answer.ok()) return rpc::ToGrpc(answer);
    }
  }
  if (StaySilent(context, false)) return grpc::Status::CANCELLED;
  // Fields that neither type knows show that bytes pass through untouched.
  response->GetReflection()->MutableUnknownFields(response)->MergeFrom(
      request.GetReflection()->GetUnknownFields(request));
  return grpc::Status::OK;
}

grpc::Status FakeCoordination::WatchZnodes(grpc::ServerContext* context,
                                           const v1::WatchZnodesRequest* request,
                                           grpc::ServerWriter<v1::WatchZnodesResponse>* writer) {
  std::pair<std::vector<v1::WatchZnodesResponse>, absl::Status> script;
  bool scripted = false;
  {
    MutexLock lock(&mu_);
    watched_after_.push_back(request->after_index());
    scripted = !watches_.empty();
    if (scripted) {
      script = std::move(watches_.front());
      watches_.pop_front();
    }
  }
  for (const v1::WatchZnodesResponse& message : script.first) writer->Write(message);
  if (!scripted || script.second.ok()) StaySilent(context, true);
  return rpc::ToGrpc(script.second);
}

// The answer says what it answers.
void FakeCoordination::Note(const v1::KeepSessionsRequest& frame,
                            v1::KeepSessionsResponse* answer) {
  kept_.push_back(frame.sessions(0).session_id());
  answer->add_expired_session_ids(kept_.back());
}

void FakeCoordination::Note(const v1::StreamWritesRequest& frame,
                            v1::StreamWritesResponse* answer) {
  written_.push_back(frame.writes(0).set().path());
  answer->add_results()->mutable_set()->mutable_znode()->set_path(written_.back());
  answer->mutable_results(0)->mutable_set()->mutable_znode()->set_data(std::string(padding_, 'x'));
}

template <typename Request, typename Response>
grpc::Status FakeCoordination::AnswerFrames(grpc::ServerContext* context, StreamScripts* scripts,
                                            grpc::ServerReaderWriter<Response, Request>* stream) {
  int frames = -1;
  absl::Status end;
  {
    MutexLock lock(&mu_);
    if (!scripts->empty()) {
      std::tie(frames, end) = std::move(scripts->front());
      scripts->pop_front();
    }
  }
  Request request;
  while (stream->Read(&request)) {
    Response response;
    {
      MutexLock lock(&mu_);
      Note(request, &response);
    }
    if (StaySilent(context, false)) return grpc::Status::CANCELLED;
    if (frames == 0) return rpc::ToGrpc(end);
    if (frames > 0) --frames;
    stream->Write(response);
  }
  return grpc::Status::OK;
}

grpc::Status FakeCoordination::KeepSessions(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<v1::KeepSessionsResponse, v1::KeepSessionsRequest>* stream) {
  return AnswerFrames(context, &keep_streams_, stream);
}

grpc::Status FakeCoordination::StreamWrites(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<v1::StreamWritesResponse, v1::StreamWritesRequest>* stream) {
  return AnswerFrames(context, &write_streams_, stream);
}

}  // namespace falaj::gateway
