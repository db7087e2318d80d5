#include "libs/base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace falaj::log {
namespace {

constexpr absl::string_view kLevelNames[] = {"debug", "info", "warning", "error"};

Options& CurrentOptions() {
  static auto* const options = new Options;
  return *options;
}

// spdlog carries whole, already formatted lines: it owns the sink, its lock and the flushing.
spdlog::logger& Sink() {
  static auto* const logger = [] {
    auto* made = new spdlog::logger("falaj", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%v");
    made->set_level(spdlog::level::trace);
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return *logger;
}

void AppendJsonString(absl::string_view text, std::string* out) {
  out->push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppendFormat(out, "\\u%04x", byte);
    } else {
      out->push_back(c);
    }
  }
  out->push_back('"');
}

void AppendJsonField(absl::string_view key, absl::string_view value, bool quoted,
                     std::string* out) {
  out->push_back(out->size() == 1 ? ' ' : ',');
  AppendJsonString(key, out);
  out->push_back(':');
  if (quoted) {
    AppendJsonString(value, out);
  } else {
    absl::StrAppend(out, value);
  }
}

}  // namespace

void Configure(const Options& options) { CurrentOptions() = options; }

std::string FormatLine(const Options& options, absl::string_view time_text, Level level,
                       absl::string_view message, Fields fields) {
  const absl::string_view level_name = kLevelNames[static_cast<size_t>(level)];
  std::string line;
  if (options.format == Format::kJson) {
    line.push_back('{');
    AppendJsonField("time", time_text, true, &line);
    AppendJsonField("level", level_name, true, &line);
    if (!options.component.empty()) AppendJsonField("component", options.component, true, &line);
    AppendJsonField("message", message, true, &line);
    for (const Field& field : fields) {
      AppendJsonField(field.key(), field.value(), field.quoted(), &line);
    }
    line.erase(1, 1);  // The space that stood in for the first comma.
    line.push_back('}');
    return line;
  }
  line = absl::StrCat(time_text, " ", level_name, " ", options.component,
                      options.component.empty() ? "" : ": ", message);
  for (const Field& field : fields) {
    absl::StrAppend(&line, " ", field.key(), "=");
    if (field.quoted()) {
      AppendJsonString(field.value(), &line);
    } else {
      absl::StrAppend(&line, field.value());
    }
  }
  return line;
}

void Write(Level level, absl::string_view message, Fields fields) {
  const Options& options = CurrentOptions();
  if (level < options.level_min) return;
  const std::string time_text =
      absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone());
  const std::string line = FormatLine(options, time_text, level, message, fields);
  Sink().log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace falaj::log
