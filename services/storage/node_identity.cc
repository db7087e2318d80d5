#include "services/storage/node_identity.h"

#include <unistd.h>

#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "libs/base/crc32c.h"
#include "libs/base/status.h"
#include "services/storage/small_file.h"

namespace falaj::storage {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kMagic = "falaj-storage 1\n";

absl::Status Damaged(const std::string& data_dir) {
  return MakeError(
      Reason::kCorruptRecord,
      absl::StrCat("the identity of the data directory ", data_dir, " is damaged or missing"),
      {{"path", data_dir + "/identity"}});
}

}  // namespace

absl::StatusOr<NodeIdentity> NodeIdentity::Open(const std::string& data_dir, NodeId node,
                                                Random* random) {
  std::error_code error;
  fs::create_directories(data_dir, error);
  if (error) {
    return MakeError(Reason::kStorageFailed,
                     absl::StrCat("cannot make ", data_dir, ": ", error.message()),
                     {{"path", data_dir}});
  }
  NodeIdentity identity(data_dir, node);
  if (const std::optional<std::string> text = ReadFile(data_dir + "/identity")) {
    FALAJ_RETURN_IF_ERROR(identity.Load(*text));
  } else {
    if (fs::exists(identity.store_directory(), error)) return Damaged(data_dir);
    identity.directory_id_ = random->NextUuid();
    FALAJ_RETURN_IF_ERROR(identity.Save());
  }
  const std::string clean = data_dir + "/clean";
  if (const std::optional<std::string> text = ReadFile(clean)) {
    int64_t epoch = 0;
    if (absl::SimpleAtoi(*text, &epoch)) identity.clean_epoch_ = NodeEpoch{epoch};
    if (::unlink(clean.c_str()) != 0) return FileFailed("cannot remove", clean);
    FALAJ_RETURN_IF_ERROR(SyncDirectory(data_dir));
  }
  return identity;
}

absl::Status NodeIdentity::Load(const std::string& text) {
  const size_t sum_at = text.rfind("crc32c ");
  uint32_t sum = 0;
  if (sum_at == std::string::npos ||
      !absl::SimpleAtoi(absl::string_view(text).substr(sum_at + 7), &sum) ||
      crc32c::Of(absl::string_view(text).substr(0, sum_at)) != sum ||
      text.compare(0, kMagic.size(), kMagic.data(), kMagic.size()) != 0) {
    return Damaged(data_dir_);
  }
  int32_t node = 0;
  for (const absl::string_view line :
       absl::StrSplit(absl::string_view(text).substr(0, sum_at), '\n')) {
    const std::pair<absl::string_view, absl::string_view> field =
        absl::StrSplit(line, absl::MaxSplits(' ', 1));
    if (field.first == "node_id" && !absl::SimpleAtoi(field.second, &node)) {
      return Damaged(data_dir_);
    }
    if (field.first == "directory_id") {
      FALAJ_ASSIGN_OR_RETURN(directory_id_, Uuid::Parse(field.second));
    }
    if (field.first == "cluster_id") {
      FALAJ_ASSIGN_OR_RETURN(cluster_id_, Uuid::Parse(field.second));
    }
  }
  if (directory_id_.is_nil()) return Damaged(data_dir_);
  if (node == node_.value()) return absl::OkStatus();
  return MakeError(Reason::kClusterMismatch,
                   absl::StrCat("the data directory ", data_dir_, " belongs to node ", node,
                                ", not to node ", node_),
                   {{"path", data_dir_},
                    {"node", absl::StrCat(node_.value())},
                    {"node_on_record", absl::StrCat(node)}});
}

absl::Status NodeIdentity::Save() const {
  std::string text = absl::StrCat(kMagic, "directory_id ", directory_id_.ToString(), "\nnode_id ",
                                  node_.value(), "\n");
  if (!cluster_id_.is_nil()) absl::StrAppend(&text, "cluster_id ", cluster_id_.ToString(), "\n");
  absl::StrAppend(&text, "crc32c ", crc32c::Of(text), "\n");
  return ReplaceFile(data_dir_, "identity", text);
}

absl::Status NodeIdentity::JoinCluster(const Uuid& cluster) {
  if (cluster == cluster_id_) return absl::OkStatus();
  if (!cluster_id_.is_nil()) {
    return MakeError(
        Reason::kClusterMismatch,
        absl::StrCat("the data directory belongs to cluster ", cluster_id_.ToString(),
                     ", the metadata service to ", cluster.ToString()),
        {{"cluster_id", cluster.ToString()}, {"cluster_id_on_record", cluster_id_.ToString()}});
  }
  cluster_id_ = cluster;
  return Save();
}

absl::Status NodeIdentity::MarkClean(NodeEpoch epoch) {
  return ReplaceFile(data_dir_, "clean", absl::StrCat(epoch.value(), "\n"));
}

}  // namespace falaj::storage
