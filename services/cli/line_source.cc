#include "services/cli/line_source.h"

#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "services/cli/interrupt.h"

namespace falaj::cli {

struct LineSource::Decompressor {
  Decompressor() : stream(ZSTD_createDStream()), input(ZSTD_DStreamInSize()) {}
  ~Decompressor() { ZSTD_freeDStream(stream); }

  ZSTD_DStream* const stream;
  std::vector<char> input;
  ZSTD_inBuffer pending = {nullptr, 0, 0};
  size_t hint = 0;  // 0 at the end of a frame.
};

LineSource::LineSource() = default;

LineSource::~LineSource() {
  if (owned_ && file_ != nullptr) std::fclose(file_);
}

absl::StatusOr<std::unique_ptr<LineSource>> LineSource::Open(const std::string& path) {
  std::unique_ptr<LineSource> source(new LineSource());
  source->file_ = path == "-" ? stdin : std::fopen(path.c_str(), "rb");
  source->owned_ = path != "-";
  if (source->file_ == nullptr) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("cannot read '", path, "': ", std::strerror(errno)));
  }
  struct stat file = {};
  if (fstat(fileno(source->file_), &file) == 0 && S_ISREG(file.st_mode)) {
    source->size_bytes_ = file.st_size;
  }
  if (absl::EndsWith(path, ".zst")) source->zstd_ = std::make_unique<Decompressor>();
  return source;
}

bool LineSource::Next(absl::string_view* line) {
  size_t searched = at_;
  while (true) {
    const size_t end = buffer_.find('\n', searched);
    if (end != std::string::npos) {
      *line = absl::string_view(buffer_).substr(at_, end - at_);
      at_ = end + 1;
      return true;
    }
    buffer_.erase(0, at_);
    at_ = 0;
    searched = buffer_.size();
    if (Fill()) continue;
    if (buffer_.empty() || !status_.ok()) return false;
    *line = buffer_;
    at_ = buffer_.size();
    return true;
  }
}

double LineSource::part_read() const {
  if (size_bytes_ <= 0) return -1;
  // What is in the buffer has not been handed out; of a compressed file that is not known so well.
  const int64_t waiting = zstd_ != nullptr ? 0 : static_cast<int64_t>(buffer_.size() - at_);
  return static_cast<double>(read_bytes_ - waiting) / static_cast<double>(size_bytes_);
}

bool LineSource::Fill() {
  if (zstd_ != nullptr) return FillCompressed();
  // A pipe delivers what is there; a whole block at a time would hold lines back.
  constexpr size_t kBlock = 64 << 10;
  const size_t old = buffer_.size();
  buffer_.resize(old + kBlock);
  ssize_t got = 0;
  do {
    got = ::read(fileno(file_), buffer_.data() + old, kBlock);
  } while (got < 0 && errno == EINTR && !Interrupted());
  if (got < 0) status_ = MakeError(Reason::kInvalidRequest, std::strerror(errno));
  got = std::max<ssize_t>(got, 0);
  read_bytes_ += got;
  buffer_.resize(old + static_cast<size_t>(got));
  return got > 0;
}

bool LineSource::FillCompressed() {
  const size_t old = buffer_.size();
  while (buffer_.size() == old) {
    if (zstd_->pending.pos == zstd_->pending.size) {
      const size_t got = std::fread(zstd_->input.data(), 1, zstd_->input.size(), file_);
      if (got == 0) {
        if (zstd_->hint != 0) status_ = MakeError(Reason::kInvalidRequest, "the file is cut short");
        return false;
      }
      read_bytes_ += static_cast<int64_t>(got);
      zstd_->pending = {zstd_->input.data(), got, 0};
    }
    const size_t room = ZSTD_DStreamOutSize();
    buffer_.resize(old + room);
    ZSTD_outBuffer out = {buffer_.data() + old, room, 0};
    zstd_->hint = ZSTD_decompressStream(zstd_->stream, &out, &zstd_->pending);
    buffer_.resize(old + out.pos);
    if (ZSTD_isError(zstd_->hint) != 0) {
      status_ = MakeError(Reason::kInvalidRequest,
                          absl::StrCat("not zstd: ", ZSTD_getErrorName(zstd_->hint)));
      return false;
    }
  }
  return true;
}

}  // namespace falaj::cli
