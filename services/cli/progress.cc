#include "services/cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "services/cli/values.h"

namespace falaj::cli {
namespace {

constexpr absl::Duration kRedraw = absl::Milliseconds(100);
constexpr char kClearLine[] = "\r\x1b[K";

}  // namespace

ProgressBar::ProgressBar(absl::string_view label, int64_t total, const Clock* clock)
    : label_(label),
      total_(total),
      clock_(clock),
      terminal_(isatty(STDERR_FILENO) == 1),
      start_(clock->MonotonicNow()),
      last_(start_) {}

ProgressBar::~ProgressBar() {
  if (drawn_) std::fputs(kClearLine, stderr);
}

void ProgressBar::Update(int64_t count, int64_t bytes) { Update(count, bytes, -1); }

void ProgressBar::Update(int64_t count, int64_t bytes, double part) {
  if (!terminal_) return;
  const MonotonicTime now = clock_->MonotonicNow();
  if (now - last_ < kRedraw) return;
  last_ = now;
  drawn_ = true;
  std::fputs((kClearLine + Render(label_, total_, count, bytes, now - start_, part)).c_str(),
             stderr);
}

std::string ProgressBar::Render(absl::string_view label, int64_t total, int64_t count,
                                int64_t bytes, absl::Duration elapsed, double part) {
  const double seconds = std::max(absl::ToDoubleSeconds(elapsed), 1e-9);
  std::string rates =
      absl::StrCat(FormatCount(static_cast<int64_t>(static_cast<double>(count) / seconds)), "/s");
  if (bytes > 0)
    absl::StrAppend(&rates, "  ", FormatBytes(static_cast<double>(bytes) / seconds), "/s");
  std::string counts = FormatCount(count);
  if (total > 0) {
    part = static_cast<double>(count) / static_cast<double>(total);
    absl::StrAppend(&counts, " / ", FormatCount(total));
  }
  if (part < 0) return absl::StrCat(label, "  ", counts, "  ", rates);
  constexpr int kWidth = 20;
  part = std::min(part, 1.0);
  const auto filled = static_cast<size_t>(part * kWidth);
  return absl::StrFormat("%s  [%s%s] %3.0f%%  %s  %s", label, std::string(filled, '#'),
                         std::string(kWidth - filled, '-'), part * 100, counts, rates);
}

}  // namespace falaj::cli
