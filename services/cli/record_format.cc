#include "services/cli/record_format.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "libs/base/status.h"
#include "services/cli/json_line.h"

namespace falaj::cli {
namespace {

absl::Status Bad(absl::string_view message) {
  return MakeError(Reason::kInvalidRequest, message, {{"field", "format"}});
}

int64_t SizeOf(const std::optional<absl::string_view>& field) {
  return field.has_value() ? static_cast<int64_t>(field->size()) : -1;
}

void AppendHeaders(const record::RecordView& record, absl::string_view null_text,
                   std::string* out) {
  const char* separator = "";
  for (const record::HeaderView& header : record.headers()) {
    absl::StrAppend(out, separator, header.key, "=", header.value.value_or(null_text));
    separator = ",";
  }
}

// Parses "a=1,b=2" into headers.
void ParseHeaders(absl::string_view text, record::Record* record) {
  for (absl::string_view entry : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> field =
        absl::StrSplit(entry, absl::MaxSplits('=', 1));
    record->headers.push_back({std::string(field.first), std::string(field.second)});
  }
}

absl::Status SetField(char token, absl::string_view text, record::Record* record,
                      std::optional<PartitionIndex>* partition) {
  int32_t number = 0;
  switch (token) {
    case 'k':
      record->key = std::string(text);
      return absl::OkStatus();
    case 's':
      record->value = std::string(text);
      return absl::OkStatus();
    case 'h':
      ParseHeaders(text, record);
      return absl::OkStatus();
    case 'T':
      if (absl::SimpleAtoi(text, &record->timestamp_ms)) return absl::OkStatus();
      return Bad(absl::StrCat("'", text, "' is not a timestamp in milliseconds"));
    case 'p':
      if (!absl::SimpleAtoi(text, &number))
        return Bad(absl::StrCat("'", text, "' is no partition"));
      *partition = PartitionIndex(number);
      return absl::OkStatus();
    default:
      return Bad(absl::StrCat("%", std::string(1, token), " cannot be read from a line"));
  }
}

}  // namespace

absl::StatusOr<std::string> Unescape(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out.push_back(text[i]);
      continue;
    }
    const char c = i + 1 < text.size() ? text[i + 1] : '\0';
    ++i;
    constexpr absl::string_view kNames = "nrt0\\";
    constexpr absl::string_view kCharacters("\n\r\t\0\\", 5);
    if (const size_t known = kNames.find(c); c != '\0' && known != absl::string_view::npos) {
      out.push_back(kCharacters[known]);
    } else if (int value = 0; c == 'x' && i + 2 < text.size() &&
                              absl::SimpleHexAtoi(text.substr(i + 1, 2), &value)) {
      out.push_back(static_cast<char>(value));
      i += 2;
    } else {
      return Bad(
          absl::StrCat("unknown escape \\", std::string(1, c), "; use \\n \\r \\t \\0 \\xHH"));
    }
  }
  return out;
}

absl::StatusOr<RecordFormat> RecordFormat::Parse(absl::string_view format) {
  FALAJ_ASSIGN_OR_RETURN(const std::string text, Unescape(format));
  RecordFormat result;
  std::string literal;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      literal.push_back(text[i]);
      continue;
    }
    const char token = i + 1 < text.size() ? text[++i] : '\0';
    if (token == '%') {
      literal.push_back('%');
      continue;
    }
    constexpr absl::string_view kTokens = "sSkKTthpo";
    if (token == '\0' || kTokens.find(token) == absl::string_view::npos) {
      return Bad(absl::StrCat("unknown token %", std::string(1, token),
                              "; use %s %S %k %K %T %h %t %p %o %%"));
    }
    if (!literal.empty()) result.parts_.push_back({0, std::exchange(literal, "")});
    result.parts_.push_back({token, ""});
  }
  if (!literal.empty()) result.parts_.push_back({0, literal});
  return result;
}

void RecordFormat::Render(absl::string_view topic, PartitionIndex partition,
                          const record::RecordView& record, absl::string_view null_text,
                          std::string* out) const {
  for (const Part& part : parts_) {
    switch (part.token) {
      case 0:
        out->append(part.text);
        break;
      case 's':
        absl::StrAppend(out, record.value.value_or(null_text));
        break;
      case 'S':
        absl::StrAppend(out, SizeOf(record.value));
        break;
      case 'k':
        absl::StrAppend(out, record.key.value_or(null_text));
        break;
      case 'K':
        absl::StrAppend(out, SizeOf(record.key));
        break;
      case 'T':
        absl::StrAppend(out, record.timestamp_ms);
        break;
      case 't':
        absl::StrAppend(out, topic);
        break;
      case 'h':
        AppendHeaders(record, null_text, out);
        break;
      case 'p':
        absl::StrAppend(out, partition.value());
        break;
      case 'o':
        absl::StrAppend(out, record.offset.value());
        break;
      default:
        break;
    }
  }
}

absl::Status RecordFormat::ParseLine(absl::string_view line, record::Record* record,
                                     std::optional<PartitionIndex>* partition) const {
  for (size_t i = 0; i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    if (part.token == 0) {
      // A line break at the end of the format is the one that ended the line.
      if (i + 1 == parts_.size() && part.text == "\n") break;
      if (line.substr(0, part.text.size()) != part.text) {
        return Bad(absl::StrCat("the line has no '", part.text, "' where the format wants one"));
      }
      line.remove_prefix(part.text.size());
      continue;
    }
    const bool bounded = i + 1 < parts_.size() && parts_[i + 1].token == 0 &&
                         !(i + 2 == parts_.size() && parts_[i + 1].text == "\n");
    const size_t end = bounded ? line.find(parts_[i + 1].text) : line.size();
    if (end == absl::string_view::npos) {
      return Bad(absl::StrCat("the line has no '", parts_[i + 1].text, "' after %",
                              std::string(1, part.token)));
    }
    FALAJ_RETURN_IF_ERROR(SetField(part.token, line.substr(0, end), record, partition));
    line.remove_prefix(end);
  }
  return absl::OkStatus();
}

std::string RecordJson(absl::string_view topic, PartitionIndex partition,
                       const record::RecordView& record, bool with_payload) {
  JsonLine line;
  line.Add("topic", topic).Add("partition", static_cast<int64_t>(partition.value()));
  line.Add("offset", record.offset.value()).Add("tstype", "create").Add("ts", record.timestamp_ms);
  if (!record.headers().empty()) {
    std::string headers;
    for (const record::HeaderView& header : record.headers()) {
      absl::StrAppend(&headers, headers.empty() ? "" : ",", JsonString(header.key), ",",
                      header.value.has_value() ? JsonString(*header.value) : "null");
    }
    line.AddRaw("headers", absl::StrCat("[", headers, "]"));
  }
  if (!with_payload) {
    return line.Add("key_size", SizeOf(record.key)).Add("size", SizeOf(record.value)).ToString();
  }
  line.AddRaw("key", record.key.has_value() ? JsonString(*record.key) : "null");
  line.AddRaw("payload", record.value.has_value() ? JsonString(*record.value) : "null");
  return line.ToString();
}

}  // namespace falaj::cli
