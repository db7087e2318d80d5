#include "libs/rpc/status_grpc.h"

#include <gtest/gtest.h>

#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace falaj::rpc {
namespace {

absl::Status Sample() {
  return WithRetryAfter(MakeError(Reason::kLeaderUnavailable, "partition 3 of 't' has no leader",
                                  {{"topic", "t"}, {"partition", "3"}}),
                        absl::Milliseconds(1500));
}

google::rpc::Status Details(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  return details;
}

TEST(StatusGrpcTest, ReasonMetadataAndRetryHintSurviveTheRoundTrip) {
  const grpc::Status wire = ToGrpc(Sample());
  EXPECT_EQ(wire.error_code(), grpc::StatusCode::UNAVAILABLE);
  const absl::Status back = FromGrpc(wire);
  EXPECT_EQ(back.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(back.message(), Sample().message());
  EXPECT_EQ(ReasonOf(back), Reason::kLeaderUnavailable);
  EXPECT_EQ(MetadataOf(back), MetadataOf(Sample()));
  EXPECT_EQ(RetryAfterOf(back), absl::Milliseconds(1500));
}

TEST(StatusGrpcTest, EveryReasonSurvivesBothRoundTrips) {
#define FALAJ_REASON(constant, name, code, definite, sentence)                               \
  EXPECT_EQ(ReasonOf(FromGrpc(ToGrpc(MakeError(Reason::constant, "m")))), Reason::constant); \
  {                                                                                          \
    v1::Error error;                                                                         \
    ToProto(MakeError(Reason::constant, "m"), &error);                                       \
    EXPECT_EQ(error.reason(), #name);                                                        \
    EXPECT_EQ(ReasonOf(FromProto(error)), Reason::constant);                                 \
  }
#include "libs/base/errors.def"
#undef FALAJ_REASON
}

TEST(StatusGrpcTest, ReasonsThatPassSayHowLongThatUsuallyTakes) {
  for (const Reason reason : {Reason::kLeaderUnavailable, Reason::kNotEnoughReplicas,
                              Reason::kQuotaExceeded, Reason::kDiskFull, Reason::kShuttingDown}) {
    const auto delay = RetryAfterOf(FromGrpc(ToGrpc(MakeError(reason, "m"))));
    ASSERT_TRUE(delay.has_value()) << ReasonName(reason);
    EXPECT_GE(*delay, absl::Milliseconds(100));
    EXPECT_LE(*delay, absl::Seconds(1));
    v1::Error part;
    ToProto(MakeError(reason, "m"), &part);
    EXPECT_TRUE(part.has_retry_delay()) << ReasonName(reason);
  }
  // What may have been done must not look as if it could simply be sent again.
  for (const Reason reason :
       {Reason::kAppendUncertain, Reason::kMetadataUnavailable, Reason::kTimedOut,
        Reason::kTopicNotFound, Reason::kOutOfOrderSequence, Reason::kInternal}) {
    EXPECT_FALSE(RetryAfterOf(FromGrpc(ToGrpc(MakeError(reason, "m")))).has_value());
  }
}

TEST(StatusGrpcTest, SuccessIsSuccess) {
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpc(grpc::Status::OK).ok());
  EXPECT_TRUE(FromProto(v1::Error()).ok());
}

TEST(StatusGrpcTest, DetailsAreWhatEveryErrorLibraryReads) {
  const google::rpc::Status details = Details(ToGrpc(
      MakeError(Reason::kInvalidRequest, "page_size is negative", {{"field", "page_size"}})));
  ASSERT_EQ(details.details_size(), 2);
  EXPECT_EQ(details.details(0).type_url(), "type.googleapis.com/google.rpc.ErrorInfo");
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(details.details(0).UnpackTo(&info));
  EXPECT_EQ(info.domain(), "falaj.dev");
  EXPECT_EQ(info.reason(), "INVALID_REQUEST");
  google::rpc::BadRequest bad_request;
  ASSERT_TRUE(details.details(1).UnpackTo(&bad_request));
  EXPECT_EQ(bad_request.field_violations(0).field(), "page_size");
}

TEST(StatusGrpcTest, AnErrorWithoutAReasonGetsTheNearestOne) {
  google::rpc::ErrorInfo info;
  const google::rpc::Status details = Details(ToGrpc(absl::InternalError("oops")));
  ASSERT_TRUE(details.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "INTERNAL");
}

TEST(StatusGrpcTest, ForeignErrorsKeepTheirCodeAndMessage) {
  const absl::Status plain = FromGrpc(grpc::Status(grpc::StatusCode::ABORTED, "theirs"));
  EXPECT_EQ(plain, absl::AbortedError("theirs"));
  const absl::Status garbled =
      FromGrpc(grpc::Status(grpc::StatusCode::ABORTED, "theirs", "\xff\xff not a proto"));
  EXPECT_EQ(garbled, absl::AbortedError("theirs"));
}

TEST(StatusGrpcTest, AReasonOfAnotherDomainIsNotOurs) {
  google::rpc::ErrorInfo info;
  info.set_reason("TOPIC_NOT_FOUND");
  info.set_domain("example.com");
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  const absl::Status status =
      FromGrpc(grpc::Status(grpc::StatusCode::ABORTED, "m", details.SerializeAsString()));
  EXPECT_EQ(status, absl::AbortedError("m"));
}

TEST(StatusGrpcTest, HugeErrorsAreCutToFitTheTrailers) {
  std::string message;
  while (message.size() < 100'000) message += "ä";
  const grpc::Status wire =
      ToGrpc(MakeError(Reason::kInvalidRequest, message, {{"field", message}, {"topic", message}}));
  EXPECT_LT(wire.error_message().size() * 3 + wire.error_details().size() * 4 / 3, 7000u);
  EXPECT_EQ(wire.error_message().size() % 2, 0u) << "cut inside a character";
}

TEST(StatusGrpcTest, OnlyDefiniteAndPassingErrorsAreRetryable) {
  EXPECT_TRUE(IsRetryable(Reason::kLeaderUnavailable));
  EXPECT_TRUE(IsRetryable(Reason::kNotLeader));
  EXPECT_TRUE(IsRetryable(Reason::kDiskFull));
  EXPECT_FALSE(IsRetryable(Reason::kAppendUncertain)) << "it might be appended twice";
  EXPECT_FALSE(IsRetryable(Reason::kInvalidRequest));
  v1::Error error;
  ToProto(Sample(), &error);
  EXPECT_TRUE(error.retryable());
  EXPECT_EQ(error.retry_delay().seconds(), 1);
  EXPECT_EQ(error.retry_delay().nanos(), 500'000'000);
}

}  // namespace
}  // namespace falaj::rpc
