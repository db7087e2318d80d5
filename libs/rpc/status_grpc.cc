#include "libs/rpc/status_grpc.h"

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace falaj::rpc {
namespace {

constexpr char kDomain[] = "falaj.dev";
constexpr absl::string_view kFieldKey = "field";
// A message travels twice (grpc-message, details) and is escaped on the way: three bytes for one in
// the worst case. With these bounds an error stays below 8 KiB.
constexpr size_t kMessageBytesMax = 700;
constexpr size_t kValueBytesMax = 200;

// Cuts at the start of a character, so that UTF-8 stays UTF-8.
std::string Shortened(absl::string_view text, size_t size_max) {
  if (text.size() <= size_max) return std::string(text);
  size_t end = size_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end));
}

void SetDuration(absl::Duration from, google::protobuf::Duration* to) {
  to->set_seconds(absl::ToInt64Seconds(from));
  to->set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(from - absl::Seconds(absl::ToInt64Seconds(from)))));
}

absl::Duration GetDuration(const google::protobuf::Duration& from) {
  return absl::Seconds(from.seconds()) + absl::Nanoseconds(from.nanos());
}

// How long to wait before another attempt if whoever made the error did not say. Nothing for an
// error after which the same request may not be sent again.
std::optional<absl::Duration> UsualRetryDelay(Reason reason) {
  switch (reason) {
    case Reason::kLeaderUnavailable:
      return absl::Milliseconds(100);  // An election takes that long.
    case Reason::kNotEnoughReplicas:
    case Reason::kQuotaExceeded:
      return absl::Milliseconds(500);
    case Reason::kDiskFull:
    case Reason::kShuttingDown:
      return absl::Seconds(1);
    default:
      return std::nullopt;
  }
}

std::optional<absl::Duration> RetryDelay(const absl::Status& status) {
  const std::optional<absl::Duration> delay = RetryAfterOf(status);
  return delay.has_value() ? delay : UsualRetryDelay(ReasonOf(status));
}

absl::Status Foreign(int code, const std::string& message) {
  return absl::Status(static_cast<absl::StatusCode>(code), message);
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message = Shortened(status.message(), kMessageBytesMax);
  const ErrorMetadata metadata = MetadataOf(status);
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(ReasonName(ReasonOf(status))));
  info.set_domain(kDomain);
  for (const auto& [key, value] : metadata) {
    (*info.mutable_metadata())[key] = Shortened(value, kValueBytesMax);
  }
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(message);
  details.add_details()->PackFrom(info);
  if (const auto delay = RetryDelay(status); delay.has_value()) {
    google::rpc::RetryInfo retry;
    SetDuration(*delay, retry.mutable_retry_delay());
    details.add_details()->PackFrom(retry);
  }
  if (const auto field = metadata.find(std::string(kFieldKey)); field != metadata.end()) {
    google::rpc::BadRequest bad_request;
    google::rpc::BadRequest::FieldViolation* violation = bad_request.add_field_violations();
    violation->set_field(Shortened(field->second, kValueBytesMax));
    violation->set_description(Shortened(status.message(), kValueBytesMax));
    details.add_details()->PackFrom(bad_request);
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message,
                      details.SerializeAsString());
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  google::rpc::RetryInfo retry;
  if (!details.ParseFromString(status.error_details())) details.Clear();
  bool has_retry = false;
  for (const google::protobuf::Any& detail : details.details()) {
    if (detail.Is<google::rpc::ErrorInfo>()) detail.UnpackTo(&info);
    if (detail.Is<google::rpc::RetryInfo>()) has_retry = detail.UnpackTo(&retry);
  }
  const Reason reason = info.domain() == kDomain ? ReasonFromName(info.reason()) : Reason::kNone;
  absl::Status result = Foreign(status.error_code(), status.error_message());
  if (reason != Reason::kNone) {
    result = MakeError(reason, status.error_message(),
                       ErrorMetadata(info.metadata().begin(), info.metadata().end()));
  }
  return has_retry ? WithRetryAfter(result, GetDuration(retry.retry_delay())) : result;
}

void ToProto(const absl::Status& status, v1::Error* error) {
  const Reason reason = ReasonOf(status);
  error->Clear();
  error->set_code(static_cast<int>(status.code()));
  error->set_reason(std::string(ReasonName(reason)));
  error->set_message(Shortened(status.message(), kMessageBytesMax));
  error->set_retryable(IsRetryable(reason));
  for (const auto& [key, value] : MetadataOf(status)) {
    (*error->mutable_metadata())[key] = Shortened(value, kValueBytesMax);
  }
  if (const auto delay = RetryDelay(status); delay.has_value()) {
    SetDuration(*delay, error->mutable_retry_delay());
  }
}

absl::Status FromProto(const v1::Error& error) {
  if (error.code() == 0) return absl::OkStatus();
  const Reason reason = ReasonFromName(error.reason());
  absl::Status result = Foreign(error.code(), error.message());
  if (reason != Reason::kNone) {
    result = MakeError(reason, error.message(),
                       ErrorMetadata(error.metadata().begin(), error.metadata().end()));
  }
  return error.has_retry_delay() ? WithRetryAfter(result, GetDuration(error.retry_delay()))
                                 : result;
}

bool IsRetryable(Reason reason) {
  if (reason == Reason::kNotLeader) return true;
  const absl::StatusCode code = ReasonCode(reason);
  return IsDefinite(reason) &&
         (code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kResourceExhausted);
}

}  // namespace falaj::rpc
