#include "libs/base/status.h"

#include <array>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace falaj {
namespace {

constexpr absl::string_view kReasonUrl = "falaj.dev/reason";
constexpr absl::string_view kMetadataUrl = "falaj.dev/metadata";
constexpr absl::string_view kRetryUrl = "falaj.dev/retry-after-ms";
constexpr char kSeparator = '\0';  // Never inside a key; values are cut at it.

struct ReasonRow {
  Reason reason;
  absl::string_view name;
  absl::StatusCode code;
  bool definite;
};

constexpr ReasonRow kRows[] = {
#define FALAJ_REASON(constant, name, code, definite, sentence) \
  {Reason::constant, #name, absl::StatusCode::code, definite},
#include "libs/base/errors.def"
#undef FALAJ_REASON
};

const ReasonRow* Find(Reason reason) {
  for (const ReasonRow& row : kRows) {
    if (row.reason == reason) return &row;
  }
  return nullptr;
}

Reason NearestReason(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return Reason::kNone;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kFailedPrecondition:
      return Reason::kInvalidRequest;
    case absl::StatusCode::kDeadlineExceeded:
      return Reason::kTimedOut;
    case absl::StatusCode::kCancelled:
      return Reason::kCancelled;
    case absl::StatusCode::kUnavailable:
      return Reason::kMetadataUnavailable;
    case absl::StatusCode::kResourceExhausted:
      return Reason::kQuotaExceeded;
    case absl::StatusCode::kDataLoss:
      return Reason::kCorruptRecord;
    case absl::StatusCode::kUnimplemented:
      return Reason::kUnsupported;
    default:
      return Reason::kInternal;
  }
}

}  // namespace

absl::Status MakeError(Reason reason, absl::string_view message, const ErrorMetadata& metadata) {
  const ReasonRow* row = Find(reason);
  absl::Status status(row == nullptr ? absl::StatusCode::kInternal : row->code, message);
  status.SetPayload(kReasonUrl, absl::Cord(ReasonName(reason)));
  if (!metadata.empty()) {
    std::string packed;
    for (const auto& [key, value] : metadata) {
      absl::StrAppend(&packed, key, absl::string_view(&kSeparator, 1),
                      value.substr(0, value.find(kSeparator)), absl::string_view(&kSeparator, 1));
    }
    status.SetPayload(kMetadataUrl, absl::Cord(packed));
  }
  return status;
}

absl::Status WithRetryAfter(absl::Status status, absl::Duration delay) {
  status.SetPayload(kRetryUrl, absl::Cord(absl::StrCat(absl::ToInt64Milliseconds(delay))));
  return status;
}

Reason ReasonOf(const absl::Status& status) {
  if (const auto payload = status.GetPayload(kReasonUrl); payload.has_value()) {
    if (const Reason reason = ReasonFromName(std::string(*payload)); reason != Reason::kNone) {
      return reason;
    }
  }
  return NearestReason(status.code());
}

ErrorMetadata MetadataOf(const absl::Status& status) {
  ErrorMetadata metadata;
  const auto payload = status.GetPayload(kMetadataUrl);
  if (!payload.has_value()) return metadata;
  const std::string packed(*payload);
  const std::vector<std::string> parts = absl::StrSplit(packed, kSeparator);
  for (size_t i = 0; i + 1 < parts.size(); i += 2) metadata[parts[i]] = parts[i + 1];
  return metadata;
}

std::optional<absl::Duration> RetryAfterOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryUrl);
  int64_t delay_ms = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &delay_ms)) {
    return std::nullopt;
  }
  return absl::Milliseconds(delay_ms);
}

absl::string_view ReasonName(Reason reason) {
  const ReasonRow* row = Find(reason);
  return row == nullptr ? absl::string_view() : row->name;
}

Reason ReasonFromName(absl::string_view name) {
  for (const ReasonRow& row : kRows) {
    if (row.name == name) return row.reason;
  }
  return Reason::kNone;
}

absl::StatusCode ReasonCode(Reason reason) {
  const ReasonRow* row = Find(reason);
  return row == nullptr ? absl::StatusCode::kOk : row->code;
}

bool IsDefinite(Reason reason) {
  const ReasonRow* row = Find(reason);
  return row != nullptr && row->definite;
}

}  // namespace falaj
