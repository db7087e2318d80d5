#include "libs/base/status.h"

#include "gtest/gtest.h"

namespace falaj {
namespace {

TEST(Status, CarriesReasonMetadataAndRetry) {
  const absl::Status status =
      WithRetryAfter(MakeError(Reason::kDiskFull, "no room", {{"node", "3"}, {"path", ""}}),
                     absl::Milliseconds(1500));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), Reason::kDiskFull);
  EXPECT_EQ(MetadataOf(status), (ErrorMetadata{{"node", "3"}, {"path", ""}}));
  EXPECT_EQ(RetryAfterOf(status), absl::Milliseconds(1500));
}

TEST(Status, EveryReasonHasAnErrorCodeAndFindsItselfByName) {
#define FALAJ_REASON(constant, name, code, definite, sentence)               \
  EXPECT_EQ(ReasonFromName(ReasonName(Reason::constant)), Reason::constant); \
  EXPECT_NE(ReasonCode(Reason::constant), absl::StatusCode::kOk);
#include "libs/base/errors.def"
#undef FALAJ_REASON
}

TEST(Status, ForeignErrorsGetTheNearestReason) {
  EXPECT_EQ(ReasonOf(absl::OkStatus()), Reason::kNone);
  EXPECT_EQ(ReasonOf(absl::DeadlineExceededError("late")), Reason::kTimedOut);
  EXPECT_EQ(ReasonOf(absl::InternalError("?")), Reason::kInternal);
}

absl::StatusOr<int> Half(int n) {
  if (n % 2 != 0) return MakeError(Reason::kInvalidRequest, "odd");
  return n / 2;
}

absl::StatusOr<int> Quarter(int n) {
  FALAJ_ASSIGN_OR_RETURN(const int half, Half(n));
  return Half(half);
}

TEST(Status, MacrosPassValuesAndErrorsOn) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(ReasonOf(Quarter(6).status()), Reason::kInvalidRequest);
}

}  // namespace
}  // namespace falaj
