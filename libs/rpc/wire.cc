#include "libs/rpc/wire.h"

#include <limits>

namespace falaj::rpc {
namespace {

constexpr int kTagTypeBits = 3;
constexpr uint64_t kFieldMax = (1 << 29) - 1;

uint64_t Tag(int field, WireType type) {
  return static_cast<uint64_t>(field) << kTagTypeBits | static_cast<uint64_t>(type);
}

size_t VarintSize(uint64_t value) {
  size_t size = 1;
  while (value >= 0x80) {
    value >>= 7;
    ++size;
  }
  return size;
}

}  // namespace

bool WireReader::Fail() {
  ok_ = false;
  bytes_size_ = 0;
  return false;
}

bool WireReader::Next() {
  if (!ok_ || pos_ == message_.size()) return false;
  uint64_t tag = 0;
  if (!ReadVarint(&tag)) return Fail();
  const uint64_t field = tag >> kTagTypeBits;
  if (field == 0 || field > kFieldMax) return Fail();
  field_ = static_cast<int>(field);
  type_ = static_cast<WireType>(tag & 7);
  value_ = 0;
  bytes_begin_ = 0;
  bytes_size_ = 0;
  switch (type_) {
    case WireType::kVarint:
      return ReadVarint(&value_) || Fail();
    case WireType::kFixed64:
      return ReadFixed(8) || Fail();
    case WireType::kFixed32:
      return ReadFixed(4) || Fail();
    case WireType::kBytes: {
      uint64_t size = 0;
      if (!ReadVarint(&size) || size > message_.size() - pos_) return Fail();
      bytes_begin_ = pos_;
      bytes_size_ = static_cast<size_t>(size);
      return Skip(size);
    }
    default:
      return Fail();  // A group, or no type at all.
  }
}

int WireReader::NextByte() {
  if (pos_ == message_.size()) return -1;
  const absl::string_view piece = message_.pieces()[piece_];
  const auto byte = static_cast<unsigned char>(piece[piece_pos_]);
  ++pos_;
  if (++piece_pos_ == piece.size()) {
    ++piece_;
    piece_pos_ = 0;
  }
  return byte;
}

bool WireReader::ReadVarint(uint64_t* value) {
  uint64_t result = 0;
  for (int shift = 0; shift < 70; shift += 7) {
    const int byte = NextByte();
    if (byte < 0) return false;
    result |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if ((byte & 0x80) == 0) {
      *value = result;
      return true;
    }
  }
  return false;
}

bool WireReader::ReadFixed(int size) {
  for (int i = 0; i < size; ++i) {
    const int byte = NextByte();
    if (byte < 0) return false;
    value_ |= static_cast<uint64_t>(byte) << (8 * i);
  }
  return true;
}

bool WireReader::Skip(uint64_t size) {
  pos_ += size;
  while (size > 0) {
    const size_t rest = message_.pieces()[piece_].size() - piece_pos_;
    if (size < rest) {
      piece_pos_ += size;
      return true;
    }
    size -= rest;
    ++piece_;
    piece_pos_ = 0;
  }
  return true;
}

void WireWriter::AppendRawVarint(uint64_t value) {
  while (value >= 0x80) {
    out_->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out_->push_back(static_cast<char>(value));
}

void WireWriter::AppendVarint(int field, uint64_t value) {
  AppendRawVarint(Tag(field, WireType::kVarint));
  AppendRawVarint(value);
}

void WireWriter::AppendFixed64(int field, uint64_t value) {
  AppendRawVarint(Tag(field, WireType::kFixed64));
  for (int i = 0; i < 8; ++i) out_->push_back(static_cast<char>(value >> (8 * i)));
}

void WireWriter::AppendBytes(int field, absl::string_view value) {
  AppendBytesHeader(field, value.size());
  out_->append(value.data(), value.size());
}

void WireWriter::AppendBytesHeader(int field, size_t size) {
  AppendRawVarint(Tag(field, WireType::kBytes));
  AppendRawVarint(size);
}

size_t BytesHeaderSize(int field, size_t size) {
  return VarintSize(Tag(field, WireType::kBytes)) + VarintSize(size);
}

}  // namespace falaj::rpc
