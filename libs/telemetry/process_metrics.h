// What every server tells about itself: falaj_build_info and the standard process_* metrics.
#ifndef LIBS_TELEMETRY_PROCESS_METRICS_H_
#define LIBS_TELEMETRY_PROCESS_METRICS_H_

#include "absl/strings/string_view.h"

#include "libs/telemetry/registry.h"

namespace falaj::telemetry {

// "0.1.0", and the revision of the sources as far as it was known when the build was configured.
absl::string_view BuildVersion();
absl::string_view BuildRevision();

// Adds falaj_build_info{component, version, revision} and the process_* metrics, read from /proc at
// each scrape. `component` is "metadata", "storage" or "gateway".
void AddProcessMetrics(absl::string_view component, Registry* registry);

}  // namespace falaj::telemetry

#endif  // LIBS_TELEMETRY_PROCESS_METRICS_H_
