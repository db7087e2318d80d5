#include "services/cli/znode_format.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "services/cli/values.h"

namespace falaj::cli {
namespace {

constexpr size_t kShownBytes = 80;

absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

const char* TypeName(v1::ZnodeEventType type) {
  switch (type) {
    case v1::ZNODE_EVENT_TYPE_CREATED:
      return "created";
    case v1::ZNODE_EVENT_TYPE_CHANGED:
      return "changed";
    case v1::ZNODE_EVENT_TYPE_DELETED:
      return "deleted";
    default:
      return "unknown";
  }
}

}  // namespace

std::string ShowData(const std::string& data) {
  if (data.size() <= kShownBytes) return absl::Utf8SafeCHexEscape(data);
  return absl::StrCat(absl::Utf8SafeCHexEscape(data.substr(0, kShownBytes)), "...");
}

Table ZnodeTable() {
  return Table({"PATH", "VERSION", "CHILDREN", "EPHEMERAL-SESSION", "CREATED-INDEX",
                "MODIFIED-INDEX", "CHILDREN-INDEX", "CREATED", "MODIFIED"});
}

void AddZnode(const std::string& path, const v1::ZnodeStat& stat, Table* table) {
  table->Add({path, stat.version(), stat.child_count(),
              stat.ephemeral_session_id() == 0 ? Cell("-")
                                               : Cell(absl::StrCat(stat.ephemeral_session_id())),
              static_cast<int64_t>(stat.create_index()), static_cast<int64_t>(stat.modify_index()),
              static_cast<int64_t>(stat.children_index()), PrettyTime(ToTime(stat.create_time())),
              PrettyTime(ToTime(stat.modify_time()))});
}

std::string RenderEvents(const v1::WatchZnodesResponse& message, OutputMode mode) {
  Table table({"INDEX", "EVENT", "PATH", "VERSION", "DATA"});
  for (const v1::ZnodeEvent& event : message.events()) {
    table.Add({static_cast<int64_t>(message.index()), TypeName(event.type()), event.znode().path(),
               event.znode().stat().version(), ShowData(event.znode().data())});
  }
  std::string text = table.Render(mode);
  // The header would repeat with every message.
  if (mode != OutputMode::kJson) text.erase(0, text.find('\n') + 1);
  return text;
}

std::string JoinPath(const std::string& parent, const std::string& name) {
  return parent == "/" ? absl::StrCat("/", name) : absl::StrCat(parent, "/", name);
}

}  // namespace falaj::cli
