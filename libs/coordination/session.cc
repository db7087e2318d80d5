#include "libs/coordination/session.h"

#include <algorithm>
#include <utility>

#include "libs/base/status.h"
#include "libs/coordination/limits.h"

namespace falaj::coordination {

namespace pb = ::falaj::internal::v1;

const SavedAnswer* Session::FindAnswer(uint64_t request_id) const {
  const auto found = std::lower_bound(
      answers.begin(), answers.end(), request_id,
      [](const SavedAnswer& answer, uint64_t wanted) { return answer.request_id < wanted; });
  return found != answers.end() && found->request_id == request_id ? &*found : nullptr;
}

bool Session::IsTooOld(uint64_t request_id) const {
  // Answers are dropped from the low end, and only once there are as many as are kept.
  return answers.size() >= kSavedAnswersMax && request_id < answers.front().request_id;
}

int64_t Session::saved_bytes() const {
  int64_t bytes = 0;
  for (const SavedAnswer& answer : answers) {
    bytes += static_cast<int64_t>(answer.encoded->bytes.size());
  }
  return bytes;
}

bool Session::HasSecret(absl::string_view claimed) const {
  if (is_storage_node() || claimed.size() != secret.size()) return false;
  unsigned difference = 0;
  for (size_t i = 0; i < secret.size(); ++i) {
    difference |= static_cast<unsigned>(secret[i] ^ claimed[i]);
  }
  return difference == 0;
}

uint64_t Session::Hash() const {
  // Never the hash of a znode: those begin with a path's.
  uint64_t hash = HashCombine(0x452821e638d01377u, static_cast<uint64_t>(id.value()));
  hash = HashCombine(hash, HashOf(secret));
  hash = HashCombine(hash, static_cast<uint64_t>(timeout_ms));
  for (const SavedAnswer& answer : answers) hash = HashCombine(hash, answer.encoded->hash);
  return hash;
}

SavedAnswer SaveAnswer(uint64_t request_id, const absl::StatusOr<pb::CoordinationResult>& result) {
  pb::SavedResult saved;
  saved.set_request_id(request_id);
  if (result.ok()) {
    *saved.mutable_result() = *result;
  } else {
    saved.set_error_reason(std::string(ReasonName(ReasonOf(result.status()))));
    saved.set_error_message(std::string(result.status().message()));
    for (const auto& [key, value] : MetadataOf(result.status())) {
      saved.add_error_metadata(key);
      saved.add_error_metadata(value);
    }
  }
  return {request_id, ShareBytes(saved.SerializeAsString())};
}

absl::StatusOr<pb::CoordinationResult> LoadAnswer(const SavedAnswer& answer) {
  pb::SavedResult saved;
  if (!saved.ParseFromString(answer.encoded->bytes)) {
    return MakeError(Reason::kInternal, "a saved answer cannot be read");
  }
  if (saved.has_result()) return std::move(*saved.mutable_result());
  ErrorMetadata metadata;
  for (int i = 0; i + 1 < saved.error_metadata_size(); i += 2) {
    metadata.emplace(saved.error_metadata(i), saved.error_metadata(i + 1));
  }
  return MakeError(ReasonFromName(saved.error_reason()), saved.error_message(), metadata);
}

}  // namespace falaj::coordination
