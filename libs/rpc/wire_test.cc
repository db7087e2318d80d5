#include "libs/rpc/wire.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "falaj/internal/v1/storage_service.pb.h"
#include "falaj/v1/producer_service.pb.h"

#include "libs/base/random.h"

namespace falaj::rpc {
namespace {

// `data` in pieces of one to `size_max` bytes.
Bytes Scatter(const std::string& data, Random* random, uint64_t size_max) {
  auto owner = std::make_shared<const std::string>(data);
  const absl::string_view all(*owner);
  Bytes::Pieces pieces;
  for (size_t pos = 0; pos < all.size();) {
    pieces.push_back(all.substr(pos, 1 + random->Below(size_max)));
    pos += pieces.back().size();
  }
  return Bytes(owner, pieces);
}

// Walks as far as it goes and returns whether the input proved well-formed.
bool Walk(const Bytes& message) {
  WireReader reader(message);
  size_t fields = 0;
  size_t content = 0;
  while (reader.Next()) {
    ++fields;
    content += reader.bytes().size();
  }
  EXPECT_LE(fields, message.size());
  EXPECT_LE(content, message.size());
  return reader.ok();
}

TEST(WireTest, ReadsWhatProtobufWrote) {
  v1::ProduceBatch batch;
  batch.set_batch_id(std::numeric_limits<uint64_t>::max());
  batch.set_partition(-1);
  batch.set_batch(std::string(1000, 'b'));
  Random random(1);
  for (uint64_t size_max : {1, 3, 7, 2000}) {
    const Bytes message = Scatter(batch.SerializeAsString(), &random, size_max);
    WireReader reader(message);
    ASSERT_TRUE(reader.Next());
    EXPECT_EQ(reader.field(), 1);
    EXPECT_EQ(reader.varint(), std::numeric_limits<uint64_t>::max());
    ASSERT_TRUE(reader.Next());
    EXPECT_EQ(reader.field(), 2);
    EXPECT_EQ(static_cast<int32_t>(reader.varint()), -1);
    ASSERT_TRUE(reader.Next());
    EXPECT_EQ(reader.field(), 15);
    EXPECT_TRUE(reader.is_bytes());
    EXPECT_EQ(reader.bytes().ToString(), batch.batch());
    EXPECT_FALSE(reader.Next());
    EXPECT_TRUE(reader.ok());
  }
}

TEST(WireTest, BytesShareTheMessagesMemory) {
  v1::ProduceBatch batch;
  batch.set_batch(std::string(1000, 'b'));
  const Bytes message = Bytes::Own(batch.SerializeAsString());
  WireReader reader(message);
  ASSERT_TRUE(reader.Next());
  const absl::string_view content = reader.bytes().view();
  EXPECT_GE(content.data(), message.view().data());
  EXPECT_LE(content.data() + content.size(), message.view().data() + message.size());
}

TEST(WireTest, WritesWhatProtobufReads) {
  internal::v1::AppendHeader header;
  header.set_request_id(0x1122334455667788);
  header.set_partition(300);
  const std::string payload(70'000, 'p');
  std::string wire;
  WireWriter writer(&wire);
  writer.AppendBytes(1, header.SerializeAsString());
  const size_t before = wire.size();
  writer.AppendBytesHeader(15, payload.size());
  EXPECT_EQ(wire.size() - before, BytesHeaderSize(15, payload.size()));
  internal::v1::AppendBatch request;
  ASSERT_TRUE(request.ParseFromString(wire + payload));
  EXPECT_EQ(request.header().request_id(), 0x1122334455667788u);
  EXPECT_EQ(request.header().partition(), 300);
  EXPECT_EQ(request.batch(), payload);

  std::string head;
  WireWriter(&head).AppendFixed64(1, 42);
  WireWriter(&head).AppendVarint(3, 7);
  ASSERT_TRUE(header.ParseFromString(head));
  EXPECT_EQ(header.request_id(), 42u);
  EXPECT_EQ(header.partition(), 7);
}

TEST(WireTest, RefusesMalformedInput) {
  const std::string bad[] = {
      std::string("\x08", 1),      // A tag without its value.
      std::string("\x00\x01", 2),  // Field number 0.
      std::string("\x7a\x05"
                  "abc",
                  5),                                                       // Shorter than it says.
      std::string("\x7a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11),      // Longer than memory.
      std::string("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12),  // Eleven bytes.
      std::string("\x0b\x0c", 2),                                           // A group.
      std::string("\x0e", 1),                                               // No such wire type.
      std::string("\x09\x01\x02", 3),                                       // Half a fixed64.
      std::string("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", 11),      // A field beyond 2^29.
  };
  for (const std::string& data : bad)
    EXPECT_FALSE(Walk(Bytes::Copy(data))) << testing::PrintToString(data);
}

TEST(WireTest, AnEmptyMessageHasNoFields) { EXPECT_TRUE(Walk(Bytes())); }

TEST(WireTest, NoInputLeadsItAstray) {
  Random random(7);
  v1::StreamProduceRequest request;
  request.mutable_batch()->set_batch_id(1);
  request.mutable_batch()->set_batch(std::string(50, 'b'));
  const std::string good = request.SerializeAsString();
  for (int round = 0; round < 20'000; ++round) {
    std::string data = good;
    for (uint64_t i = 0; i <= random.Below(4); ++i) {
      data[random.Below(data.size())] = static_cast<char>(random.Next());
    }
    data.resize(random.Below(data.size() + 1));
    const bool whole = Walk(Bytes::Copy(data));
    ASSERT_EQ(Walk(Scatter(data, &random, 5)), whole) << "scattering changed the outcome";
  }
}

}  // namespace
}  // namespace falaj::rpc
