#include "libs/rpc/byte_buffer.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "falaj/v1/producer_service.pb.h"

namespace falaj::rpc {
namespace {

std::string Text(const grpc::ByteBuffer& buffer) { return ToBytes(buffer).ToString(); }

grpc::ByteBuffer Scattered(const std::vector<std::string>& pieces) {
  std::vector<grpc::Slice> slices;
  for (const std::string& piece : pieces) slices.emplace_back(piece);
  return grpc::ByteBuffer(slices.data(), slices.size());
}

TEST(ByteBufferTest, PayloadIsNotCopiedOnTheWayThrough) {
  const Bytes payload = Bytes::Own(std::string(100'000, 'x'));
  const grpc::ByteBuffer message = ToByteBuffer("header", payload);
  const Bytes received = ToBytes(message);
  ASSERT_EQ(received.pieces().size(), 2u);
  EXPECT_EQ(received.pieces()[0], "header");
  EXPECT_EQ(received.pieces()[1].data(), payload.view().data());
}

TEST(ByteBufferTest, PartsAreJoinedWithoutCopies) {
  const Bytes whole = Bytes::Own(std::string(1000, 'a') + std::string(1000, 'b'));
  const std::vector<Bytes> parts = {whole.Subrange(0, 1000), Bytes(), whole.Subrange(1000, 1000)};
  const Bytes received = ToBytes(ToByteBuffer(parts));
  EXPECT_EQ(received.ToString(), whole.ToString());
  EXPECT_EQ(received.pieces()[1].data(), whole.view().data() + 1000);
}

TEST(ByteBufferTest, TheMessageKeepsItsPayloadAlive) {
  auto owner = std::make_shared<const std::string>(5000, 'p');
  const std::weak_ptr<const std::string> watched = owner;
  grpc::ByteBuffer message = ToByteBuffer("h", Bytes(owner, {*owner}));
  owner.reset();
  EXPECT_FALSE(watched.expired());
  EXPECT_EQ(Text(message), "h" + std::string(5000, 'p'));
  message.Clear();
  EXPECT_TRUE(watched.expired());
}

TEST(ByteBufferTest, EverySliceOfAScatteredPayloadHoldsItsOwner) {
  auto owner = std::make_shared<const std::string>(3000, 'q');
  const std::weak_ptr<const std::string> watched = owner;
  const absl::string_view all(*owner);
  grpc::ByteBuffer message =
      ToByteBuffer("", Bytes(owner, {all.substr(0, 1000), all.substr(1000, 1000)}));
  owner.reset();
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(message.Dump(&slices).ok());
  message.Clear();
  slices.pop_back();
  EXPECT_FALSE(watched.expired());
  slices.clear();
  EXPECT_TRUE(watched.expired());
}

TEST(ByteBufferTest, SmallSlicesThatLiveInsideTheirSliceStayReadable) {
  Bytes bytes;
  {
    const grpc::ByteBuffer message = Scattered({"ab", "c", std::string(64, 'd')});
    bytes = ToBytes(message);
  }
  EXPECT_EQ(bytes.ToString(), "abc" + std::string(64, 'd'));
}

TEST(ByteBufferTest, EmptyMessagesStayValid) {
  EXPECT_TRUE(ToBytes(grpc::ByteBuffer()).empty());
  EXPECT_TRUE(ToByteBuffer("", Bytes()).Valid());
  EXPECT_EQ(ToByteBuffer("", Bytes()).Length(), 0u);
  EXPECT_TRUE(SerializeProto(v1::StreamProduceRequest()).Valid());
}

TEST(ByteBufferTest, ProtosSurviveAnyScattering) {
  v1::ProduceBatch batch;
  batch.set_batch_id(77);
  batch.set_partition(3);
  batch.set_batch(std::string(300, 'z'));
  const std::string wire = batch.SerializeAsString();
  EXPECT_EQ(Text(SerializeProto(batch)), wire);
  for (size_t cut = 0; cut <= wire.size(); ++cut) {
    v1::ProduceBatch parsed;
    ASSERT_TRUE(ParseProto(Scattered({wire.substr(0, cut), wire.substr(cut)}), &parsed)) << cut;
    EXPECT_EQ(parsed.SerializeAsString(), wire) << cut;
  }
}

TEST(ByteBufferTest, MalformedProtosAreRefused) {
  v1::ProduceBatch parsed;
  EXPECT_FALSE(ParseProto(Scattered({"\x7a\xff"}), &parsed));
  EXPECT_FALSE(ParseProto(Bytes::Copy("\x7a\x05"
                                      "abc"),
                          &parsed));
}

}  // namespace
}  // namespace falaj::rpc
