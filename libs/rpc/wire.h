// The protobuf wire format by hand, for messages whose payload must not be copied.
//
//   WireReader reader(message);
//   while (reader.Next()) {
//     if (reader.field() == 1) id = reader.varint();
//     if (reader.field() == 15) batch = reader.bytes();   // shares the message's memory
//   }
//   if (!reader.ok()) return malformed;
//
//   std::string prefix;
//   WireWriter(&prefix).AppendBytesHeader(15, batch.size());  // the batch follows as slices
//
// Both cost a few nanoseconds a field. Neither checks field types against a schema: a reader looks
// at is_bytes() where a peer could have sent another type, or gets 0 or no bytes.
#ifndef LIBS_RPC_WIRE_H_
#define LIBS_RPC_WIRE_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

#include "libs/base/bytes.h"

namespace falaj::rpc {

enum class WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// WireReader walks the fields of one message in the order they come. Groups, field number 0,
// truncated fields and varints of more than ten bytes end the walk with !ok().
class WireReader {
 public:
  explicit WireReader(const Bytes& message) : message_(message) {}  // Must outlive the reader.

  // Moves to the next field. False at the end, and on malformed input.
  bool Next();
  // False once the input has proved malformed.
  bool ok() const { return ok_; }

  // Of the field Next() moved to.
  int field() const { return field_; }
  WireType type() const { return type_; }
  bool is_bytes() const { return type_ == WireType::kBytes; }
  // The number of a varint or fixed field; 0 of a bytes field.
  uint64_t varint() const { return value_; }
  // Content of a bytes field, sharing the message's owner; empty of another field.
  Bytes bytes() const { return message_.Subrange(bytes_begin_, bytes_size_); }
  size_t bytes_size() const { return bytes_size_; }

 private:
  bool Fail();
  int NextByte();  // -1 at the end.
  bool ReadVarint(uint64_t* value);
  bool ReadFixed(int size);
  bool Skip(uint64_t size);

  const Bytes& message_;
  size_t pos_ = 0;    // In the message.
  size_t piece_ = 0;  // The piece pos_ lies in, and where in it.
  size_t piece_pos_ = 0;
  bool ok_ = true;
  int field_ = 0;
  WireType type_ = WireType::kVarint;
  uint64_t value_ = 0;
  size_t bytes_begin_ = 0;
  size_t bytes_size_ = 0;
};

// WireWriter appends fields to a string it does not own.
class WireWriter {
 public:
  explicit WireWriter(std::string* out) : out_(out) {}

  void AppendVarint(int field, uint64_t value);
  void AppendFixed64(int field, uint64_t value);
  void AppendBytes(int field, absl::string_view value);
  // Tag and length only: exactly `size` bytes must follow.
  void AppendBytesHeader(int field, size_t size);

 private:
  void AppendRawVarint(uint64_t value);
  std::string* const out_;
};

// Bytes AppendBytesHeader() writes.
size_t BytesHeaderSize(int field, size_t size);

}  // namespace falaj::rpc

#endif  // LIBS_RPC_WIRE_H_
