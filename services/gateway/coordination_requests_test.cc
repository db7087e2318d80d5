#include "services/gateway/coordination_requests.h"

#include <gtest/gtest.h>

#include <string>

#include "falaj/v1/coordination_service.pb.h"

#include "libs/rpc/byte_buffer.h"

namespace falaj::gateway {
namespace {

template <typename Request>
void ExpectNeedsRequestId(const CoordinationMethod& method) {
  Request request;
  EXPECT_FALSE(MayRepeat(method, rpc::SerializeProto(request))) << method.path;
  request.mutable_options()->set_request_id(3);
  EXPECT_FALSE(MayRepeat(method, rpc::SerializeProto(request))) << "no session: nobody remembers";
  request.mutable_options()->mutable_session()->set_session_id(1);
  EXPECT_TRUE(MayRepeat(method, rpc::SerializeProto(request))) << method.path;
  request.mutable_options()->clear_request_id();
  EXPECT_FALSE(MayRepeat(method, rpc::SerializeProto(request))) << method.path;
}

TEST(CoordinationRequestsTest, WritesMayBeRepeatedByTheirRequestId) {
  ExpectNeedsRequestId<v1::CreateZnodeRequest>(kCreateZnode);
  ExpectNeedsRequestId<v1::SetZnodeRequest>(kSetZnode);
  ExpectNeedsRequestId<v1::DeleteZnodeRequest>(kDeleteZnode);
  ExpectNeedsRequestId<v1::ExecuteMultiRequest>(kExecuteMulti);
}

TEST(CoordinationRequestsTest, TheOthersMayAlwaysBeRepeated) {
  for (const CoordinationMethod& method : {kOpenSession, kKeepSession, kCloseSession, kGetZnode,
                                           kListChildren, kCampaign, kResignCampaign, kGetLeader}) {
    EXPECT_TRUE(MayRepeat(method, grpc::ByteBuffer())) << method.path;
  }
}

TEST(CoordinationRequestsTest, AnOptionInsideAMultiIsNotTheMultisOwn) {
  v1::ExecuteMultiRequest request;
  v1::WriteOptions* inner = request.add_operations()->mutable_create()->mutable_options();
  inner->mutable_session()->set_session_id(1);
  inner->set_request_id(3);
  EXPECT_FALSE(MayRepeat(kExecuteMulti, rpc::SerializeProto(request)));
}

TEST(CoordinationRequestsTest, AMalformedWriteIsNotRepeated) {
  const std::string bytes = "\x32\x7fgarbage";
  const grpc::Slice slice(bytes);
  EXPECT_FALSE(MayRepeat(kCreateZnode, grpc::ByteBuffer(&slice, 1)));
}

template <typename Request>
void ExpectLocal(const CoordinationMethod& method) {
  Request request;
  EXPECT_FALSE(IsLocalRead(method, rpc::SerializeProto(request))) << method.path;
  request.mutable_options()->set_consistency(v1::READ_CONSISTENCY_LINEARIZABLE);
  EXPECT_FALSE(IsLocalRead(method, rpc::SerializeProto(request))) << method.path;
  request.mutable_options()->set_consistency(v1::READ_CONSISTENCY_LOCAL);
  EXPECT_TRUE(IsLocalRead(method, rpc::SerializeProto(request))) << method.path;
}

TEST(CoordinationRequestsTest, TellsLocalReads) {
  ExpectLocal<v1::GetZnodeRequest>(kGetZnode);
  ExpectLocal<v1::ListChildrenRequest>(kListChildren);
  ExpectLocal<v1::GetLeaderRequest>(kGetLeader);
  EXPECT_FALSE(IsLocalRead(kSetZnode, grpc::ByteBuffer()));
}

TEST(CoordinationRequestsTest, ReadsThePositionOfAWatch) {
  v1::WatchZnodesResponse response;
  response.set_index(1 << 20);
  EXPECT_EQ(1u << 20, PositionOf(rpc::SerializeProto(response))->index);
  EXPECT_FALSE(PositionOf(rpc::SerializeProto(response))->has_events);
  response.add_events()->mutable_znode()->set_path("/a");
  EXPECT_TRUE(PositionOf(rpc::SerializeProto(response))->has_events);
  const grpc::Slice cut("\x08");
  EXPECT_FALSE(PositionOf(grpc::ByteBuffer(&cut, 1)).has_value());
}

TEST(CoordinationRequestsTest, ResumesTheSameWatchesElsewhere) {
  v1::WatchZnodesRequest request;
  request.add_watches()->set_path("/a");
  request.set_after_index(5);
  v1::WatchZnodesRequest resumed;
  ASSERT_TRUE(rpc::ParseProto(ResumeAfter(rpc::SerializeProto(request), 900), &resumed));
  EXPECT_EQ(900u, resumed.after_index());
  ASSERT_EQ(1, resumed.watches_size());
  EXPECT_EQ("/a", resumed.watches(0).path());
}

}  // namespace
}  // namespace falaj::gateway
