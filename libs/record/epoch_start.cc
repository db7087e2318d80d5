#include "libs/record/epoch_start.h"

#include <algorithm>

namespace falaj::record {

std::vector<EpochStart> TrimEpochs(Offset log_start, std::vector<EpochStart>* epochs) {
  // The last that begins at or below `log_start` holds it; everything before that goes.
  const auto next =
      std::find_if(epochs->begin(), epochs->end(),
                   [log_start](const EpochStart& epoch) { return epoch.start > log_start; });
  if (next == epochs->begin()) return {};
  std::vector<EpochStart> gone(epochs->begin(), next - 1);
  epochs->erase(epochs->begin(), next - 1);
  epochs->front().start = log_start;
  return gone;
}

}  // namespace falaj::record
