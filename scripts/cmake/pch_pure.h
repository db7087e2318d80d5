// Precompiled for every target that does not talk gRPC: the standard library and Abseil parts used
// everywhere.
#ifndef SCRIPTS_CMAKE_PCH_PURE_H_
#define SCRIPTS_CMAKE_PCH_PURE_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#endif  // SCRIPTS_CMAKE_PCH_PURE_H_
