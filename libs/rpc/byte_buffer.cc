#include "libs/rpc/byte_buffer.h"

#include <google/protobuf/io/zero_copy_stream.h>
#include <grpcpp/support/slice.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

namespace falaj::rpc {
namespace {

// Pin keeps a Bytes alive while gRPC holds slices into it: one count a slice.
struct Pin {
  explicit Pin(Bytes pinned) : bytes(std::move(pinned)), slices(bytes.pieces().size()) {}
  const Bytes bytes;
  std::atomic<size_t> slices;
};

void ReleaseSlice(void* pin) {
  auto* const typed = static_cast<Pin*>(pin);
  if (typed->slices.fetch_sub(1, std::memory_order_acq_rel) == 1) delete typed;
}

void AppendSlices(const Bytes& bytes, std::vector<grpc::Slice>* slices) {
  if (bytes.empty()) return;
  Pin* const pin = new Pin(bytes);  // Deleted with its last slice.
  const size_t count = pin->bytes.pieces().size();
  for (size_t i = 0; i < count; ++i) {
    const absl::string_view piece = pin->bytes.pieces()[i];
    // gRPC takes a mutable pointer but never writes to a slice.
    slices->emplace_back(const_cast<char*>(piece.data()), piece.size(), &ReleaseSlice, pin);
  }
}

grpc::ByteBuffer FromSlices(std::vector<grpc::Slice>* slices) {
  // A message of no slices is not a message to gRPC; one empty slice is.
  if (slices->empty()) slices->emplace_back();
  return grpc::ByteBuffer(slices->data(), slices->size());
}

// PiecesInput lets protobuf parse scattered bytes where they are.
class PiecesInput final : public google::protobuf::io::ZeroCopyInputStream {
 public:
  explicit PiecesInput(const Bytes& bytes) : pieces_(bytes.pieces()) {}

  bool Next(const void** data, int* size) override {
    if (index_ == pieces_.size()) return false;
    const absl::string_view rest = pieces_[index_].substr(pos_);
    constexpr size_t kSizeMax = std::numeric_limits<int>::max();
    const size_t length = std::min(rest.size(), kSizeMax);
    *data = rest.data();
    *size = static_cast<int>(length);
    Advance(length);
    return true;
  }
  void BackUp(int count) override {
    if (pos_ == 0) pos_ = pieces_[--index_].size();
    pos_ -= static_cast<size_t>(count);
    read_ -= count;
  }
  bool Skip(int count) override {
    while (count > 0) {
      const void* data = nullptr;
      int size = 0;
      if (!Next(&data, &size)) return false;
      if (size > count) BackUp(size - count);
      count -= std::min(size, count);
    }
    return true;
  }
  int64_t ByteCount() const override { return read_; }

 private:
  void Advance(size_t length) {
    pos_ += length;
    read_ += static_cast<int64_t>(length);
    if (pos_ == pieces_[index_].size()) {
      ++index_;
      pos_ = 0;
    }
  }

  const Bytes::Pieces& pieces_;
  size_t index_ = 0;
  size_t pos_ = 0;
  int64_t read_ = 0;
};

}  // namespace

Bytes ToBytes(const grpc::ByteBuffer& message) {
  // Small slices hold their bytes inside the grpc::Slice: the views are taken where the slices
  // stay.
  auto slices = std::make_shared<std::vector<grpc::Slice>>();
  if (!message.Valid() || !message.Dump(slices.get()).ok()) return Bytes();
  Bytes::Pieces pieces;
  pieces.reserve(slices->size());
  for (const grpc::Slice& slice : *slices) {
    pieces.emplace_back(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return Bytes(std::move(slices), pieces);
}

grpc::ByteBuffer ToByteBuffer(absl::string_view prefix, const Bytes& payload) {
  std::vector<grpc::Slice> slices;
  slices.reserve(payload.pieces().size() + 1);
  if (!prefix.empty()) slices.emplace_back(prefix.data(), prefix.size());
  AppendSlices(payload, &slices);
  return FromSlices(&slices);
}

grpc::ByteBuffer ToByteBuffer(absl::Span<const Bytes> parts) {
  std::vector<grpc::Slice> slices;
  for (const Bytes& part : parts) AppendSlices(part, &slices);
  return FromSlices(&slices);
}

bool ParseProto(const Bytes& bytes, google::protobuf::MessageLite* message) {
  PiecesInput input(bytes);
  return message->ParseFromZeroCopyStream(&input);
}

bool ParseProto(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite* message) {
  return ParseProto(ToBytes(bytes), message);
}

grpc::ByteBuffer SerializeProto(const google::protobuf::MessageLite& message) {
  grpc::Slice slice(message.ByteSizeLong());
  message.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(slice.begin()));
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace falaj::rpc
