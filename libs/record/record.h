// One record, in the two forms it takes in memory: Record owns its bytes and is what one builds a
// batch from; RecordView points into a decoded batch and costs nothing to make.
//
//   for (HeaderView header : view.headers()) ...
//
// Key, value and header values are optional: null is not the same as empty.
#ifndef LIBS_RECORD_RECORD_H_
#define LIBS_RECORD_RECORD_H_

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "libs/base/ids.h"

namespace falaj::record {

struct Header {
  std::string key;
  std::optional<std::string> value;

  friend bool operator==(const Header&, const Header&) = default;
};

struct HeaderView {
  absl::string_view key;
  std::optional<absl::string_view> value;

  friend bool operator==(const HeaderView&, const HeaderView&) = default;
};

struct Record {
  std::optional<std::string> key = {};
  std::optional<std::string> value = {};
  std::vector<Header> headers = {};
  int64_t timestamp_ms = 0;  // Unix milliseconds.

  friend bool operator==(const Record&, const Record&) = default;
};

// HeaderRange is the headers of one record, in their encoded form: a forward range of HeaderView.
// Whoever makes one has checked that the bytes hold `count` well-formed headers (BatchReader does).
class HeaderRange {
 public:
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = HeaderView;
    using difference_type = std::ptrdiff_t;
    using pointer = const HeaderView*;
    using reference = HeaderView;

    Iterator(absl::string_view rest, int32_t left) : rest_(rest), left_(left) {
      if (left_ > 0) Read();
    }
    HeaderView operator*() const { return header_; }
    const HeaderView* operator->() const { return &header_; }
    Iterator& operator++() {
      if (--left_ > 0) Read();
      return *this;
    }
    friend bool operator==(const Iterator& a, const Iterator& b) { return a.left_ == b.left_; }

   private:
    void Read();  // Takes the next header off rest_.

    HeaderView header_;
    absl::string_view rest_;
    int32_t left_;
  };

  HeaderRange() = default;
  HeaderRange(absl::string_view encoded, int32_t count) : encoded_(encoded), count_(count) {}

  Iterator begin() const { return Iterator(encoded_, count_); }
  Iterator end() const { return Iterator(absl::string_view(), 0); }
  int32_t size() const { return count_; }
  bool empty() const { return count_ == 0; }
  // The headers as they stand in the batch, without their count.
  absl::string_view encoded() const { return encoded_; }

 private:
  absl::string_view encoded_;
  int32_t count_ = 0;
};

// RecordView is one record of a decoded batch. Valid as long as the BatchReader it came from, or
// the Bytes of BatchReader::records().
struct RecordView {
  Offset offset;
  int64_t timestamp_ms = 0;
  std::optional<absl::string_view> key;
  std::optional<absl::string_view> value;
  HeaderRange header_range;

  const HeaderRange& headers() const { return header_range; }
  Record ToRecord() const;  // Copies.
};

}  // namespace falaj::record

#endif  // LIBS_RECORD_RECORD_H_
