#include "services/metadata/write_stream.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/coordination/limits.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;

constexpr size_t kFramesMax = 64;
constexpr size_t kBytesMax = 4 << 20;
constexpr int kOpenMax = 4'000;

// Moves the write out of its frame. False: there is none.
bool TakeCommand(v1::ZnodeWrite* write, pb::CoordinationCommand* command) {
  switch (write->write_case()) {
    case v1::ZnodeWrite::kCreate:
      command->mutable_create()->Swap(write->mutable_create());
      return true;
    case v1::ZnodeWrite::kSet:
      command->mutable_set()->Swap(write->mutable_set());
      return true;
    case v1::ZnodeWrite::kDelete:
      command->mutable_delete_()->Swap(write->mutable_delete_());
      return true;
    case v1::ZnodeWrite::kMulti:
      command->mutable_multi()->Swap(write->mutable_multi());
      return true;
    case v1::ZnodeWrite::WRITE_NOT_SET:
      return false;
  }
  return false;
}

void FillResult(absl::StatusOr<pb::ExecuteResponse> executed, v1::ZnodeWriteResult* result) {
  if (!executed.ok()) return rpc::ToProto(executed.status(), result->mutable_error());
  pb::CoordinationResult* const of = executed->mutable_coordination();
  switch (of->result_case()) {
    case pb::CoordinationResult::kCreate:
      return result->mutable_create()->Swap(of->mutable_create());
    case pb::CoordinationResult::kSet:
      return result->mutable_set()->Swap(of->mutable_set());
    case pb::CoordinationResult::kDelete:
      return result->mutable_delete_()->Swap(of->mutable_delete_());
    case pb::CoordinationResult::kMulti:
      return result->mutable_multi()->Swap(of->mutable_multi());
    default:
      return rpc::ToProto(MakeError(Reason::kInternal, "the answer is of another kind"),
                          result->mutable_error());
  }
}

absl::Status TooLarge(const char* what, size_t value, size_t limit) {
  return MakeError(
      Reason::kInvalidRequest,
      absl::StrCat("writes has ", value, " ", what, ", allowed are 1 to ", limit),
      {{"field", "writes"}, {"value", absl::StrCat(value)}, {"limit", absl::StrCat(limit)}});
}

absl::Status CheckSize(const v1::StreamWritesRequest& request) {
  size_t operations = 0;
  for (const v1::ZnodeWrite& write : request.writes()) {
    operations += static_cast<size_t>(std::max(1, write.multi().operations_size()));
  }
  if (operations < 1 || operations > coordination::kStreamWritesMax) {
    return TooLarge("entries", operations, coordination::kStreamWritesMax);
  }
  const size_t bytes = request.ByteSizeLong();
  if (bytes <= coordination::kStreamFrameSizeMax) return absl::OkStatus();
  return TooLarge("bytes", bytes, coordination::kStreamFrameSizeMax);
}

// As `status`, for writes of which some may have taken effect.
absl::Status OutcomeUnknown(const absl::Status& status) {
  ErrorMetadata metadata = {{"outcome", "unknown"}};
  const ErrorMetadata known = MetadataOf(status);
  if (const auto leader = known.find("leader"); leader != known.end()) metadata.insert(*leader);
  return MakeError(Reason::kMetadataUnavailable,
                   absl::StrCat("writes without an answer may have taken effect: ",
                                std::string(status.message())),
                   metadata);
}

}  // namespace

CoordinationServiceImpl::WriteStream* CoordinationServiceImpl::WriteStream::Open(
    RaftNode* node, OpenStreams<WriteStream>* streams) {
  const auto stream = std::shared_ptr<WriteStream>(new WriteStream(node, streams));
  {
    MutexLock lock(&stream->mu_);
    stream->self_ = stream;
  }
  streams->Add(stream.get());
  MutexLock lock(&stream->mu_);
  stream->Pump();
  return stream.get();
}

void CoordinationServiceImpl::WriteStream::Close(const absl::Status& status) {
  MutexLock lock(&mu_);
  StopExecuting(status);
  Settle();
}

// The first reason counts.
void CoordinationServiceImpl::WriteStream::StopExecuting(const absl::Status& why) {
  if (!stopped_.has_value()) stopped_ = why;
}

// Ends a stream that executes nothing more, once every write that was executed has a result: until
// then those before the one that was refused may still be answered.
void CoordinationServiceImpl::WriteStream::Settle() {
  if (finished_ || last_word_.has_value() || !stopped_.has_value() || under_way_ > 0) return;
  bool effects = outcome_unknown_;
  bool answered = true;  // The frames looked at so far will be.
  for (const Frame& frame : frames_) {
    answered &= frame.open == 0;
    effects |= !answered && frame.effects > 0;
  }
  last_word_ = effects ? OutcomeUnknown(*stopped_) : *stopped_;
  Pump();
}

void CoordinationServiceImpl::WriteStream::Pump() {
  if (finished_) return;
  if (!writing_ && !frames_.empty() && frames_.front().open == 0) {
    response_.Swap(&frames_.front().response);
    bytes_ -= frames_.front().bytes;
    frames_.pop_front();
    ++first_number_;
    writing_ = true;
    StartWrite(&response_);
  }
  const bool done = last_word_.has_value() || (half_closed_ && frames_.empty());
  if (done && !writing_) {
    finished_ = true;
    Finish(rpc::ToGrpc(last_word_.value_or(end_)));
    return;
  }
  Read();
}

void CoordinationServiceImpl::WriteStream::Read() {
  if (reading_ || half_closed_ || stopped_.has_value()) return;
  if (frames_.size() >= kFramesMax || bytes_ >= kBytesMax || open_ >= kOpenMax) return;
  reading_ = true;
  StartRead(&request_);
}

void CoordinationServiceImpl::WriteStream::OnReadDone(bool ok) {
  uint64_t number = 0;
  {
    MutexLock lock(&mu_);
    if (!ok) half_closed_ = true;
    if (!ok || finished_ || stopped_.has_value()) return Pump();
    if (const absl::Status valid = CheckSize(request_); !valid.ok()) {
      half_closed_ = true;  // As far as this side listens.
      end_ = valid;
      return Pump();
    }
    Frame frame;
    frame.open = request_.writes_size();
    frame.bytes = request_.ByteSizeLong();
    for (int i = 0; i < frame.open; ++i) frame.response.add_results();
    bytes_ += frame.bytes;
    open_ += frame.open;
    frames_.push_back(std::move(frame));
    number = first_number_ + frames_.size() - 1;
  }
  // Without the lock, because it may be refused at once. The next frame is not read until it is
  // posted, so that it comes after this one.
  node_->Post([self = shared_from_this(), request = std::move(request_), number](
                  MetadataNode* node, const absl::Status& refused) mutable {
    if (node == nullptr) return self->Close(refused);
    self->Execute(node, std::move(request), number);
  });
  request_.Clear();
  MutexLock lock(&mu_);
  reading_ = false;
  Pump();
}

void CoordinationServiceImpl::WriteStream::Execute(MetadataNode* node,
                                                   v1::StreamWritesRequest request,
                                                   uint64_t number) {
  for (int i = 0; i < request.writes_size(); ++i) {
    if (!BeginWrite()) return;
    pb::ClusterCommand command;
    if (!TakeCommand(request.mutable_writes(i), command.mutable_coordination())) {
      SetResult(number, i,
                MakeError(Reason::kInvalidRequest, "write must be set", {{"field", "write"}}));
      continue;
    }
    node->Execute(std::move(command), [self = shared_from_this(), number,
                                       i](absl::StatusOr<pb::ExecuteResponse> executed) {
      self->SetResult(number, i, std::move(executed));
    });
  }
}

// False: the stream executes nothing more.
bool CoordinationServiceImpl::WriteStream::BeginWrite() {
  MutexLock lock(&mu_);
  if (finished_ || stopped_.has_value()) return false;
  ++under_way_;
  return true;
}

void CoordinationServiceImpl::WriteStream::SetResult(uint64_t number, int write,
                                                     absl::StatusOr<pb::ExecuteResponse> result) {
  MutexLock lock(&mu_);
  --under_way_;
  if (finished_) return;
  if (ReasonOf(result.status()) == Reason::kMetadataUnavailable) {
    outcome_unknown_ |= MetadataOf(result.status())["outcome"] != "none";
    StopExecuting(result.status());
    return Settle();
  }
  Frame* const frame = &frames_[number - first_number_];
  if (result.ok()) ++frame->effects;
  FillResult(std::move(result), frame->response.mutable_results(write));
  --open_;
  if (--frame->open == 0) {
    // From now on it is the answer that takes the room.
    bytes_ -= std::exchange(frame->bytes, frame->response.ByteSizeLong());
    bytes_ += frame->bytes;
    Pump();
  }
  Settle();
}

void CoordinationServiceImpl::WriteStream::OnWriteDone(bool ok) {
  MutexLock lock(&mu_);
  writing_ = false;
  if (ok) return Pump();
  if (!std::exchange(finished_, true)) Finish(grpc::Status::CANCELLED);
}

void CoordinationServiceImpl::WriteStream::OnCancel() {
  MutexLock lock(&mu_);
  if (!std::exchange(finished_, true)) Finish(grpc::Status::CANCELLED);
}

void CoordinationServiceImpl::WriteStream::OnDone() {
  streams_->Remove(this);
  std::shared_ptr<WriteStream> last;  // Destroyed after the lock is released.
  MutexLock lock(&mu_);
  last = std::move(self_);
}

}  // namespace falaj::metadata
