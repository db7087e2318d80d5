// The commands of `falaj`: what each takes, as command_line.cc fills it in, and what runs it. Each
// prints its own errors and returns the exit code.
#ifndef SERVICES_CLI_COMMANDS_H_
#define SERVICES_CLI_COMMANDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "services/cli/output.h"

namespace falaj::cli {

// Options every command has.
struct CommonOptions {
  std::string address;  // Empty: see contexts.h.
  std::string context;
  std::string timeout = "10s";
  OutputMode output = OutputMode::kAuto;
};

struct ContextOptions {
  std::string action;  // "add", "use", "list", "show", "remove", "previous".
  std::string name;
  std::string address;
  std::string description;
  OutputMode output = OutputMode::kAuto;
};
ExitCode RunContext(const ContextOptions& options);

// Settings as typed; those not given keep their default or stay as they are.
struct TopicSettings {
  std::optional<std::string> retention;
  std::optional<std::string> retention_bytes;
  std::optional<std::string> durability;
  std::optional<std::string> compression;
  std::optional<std::string> batch_bytes_max;
  std::optional<int32_t> min_in_sync_replicas;
  std::optional<std::string> timestamp_type;
  std::optional<std::string> unclean_election_after;
};

struct TopicOptions {
  CommonOptions common;
  std::string action;  // "create", "list", "describe", "update", "delete", ...
  std::vector<std::string> names;
  std::optional<int32_t> partitions;
  std::optional<int32_t> replicas;
  TopicSettings settings;
  std::vector<std::string> unset;  // Settings to return to their default.
  std::string before;              // truncate: an offset, "end", or @TIME.
  std::vector<int32_t> only_partitions;
  bool if_not_exists = false;
  bool validate_only = false;
  bool internal = false;
  bool wait = false;  // update: until the number of replicas is there.
};
ExitCode RunTopic(const TopicOptions& options);

struct ClusterOptions {
  CommonOptions common;
  std::string
      action;  // "status", "health", ... "watch"; "drain", "reassign", ... of move_command.h.
  bool under_replicated = false;
  bool leaderless = false;
  int32_t node = 0;  // drain, undrain: which; elect: who shall lead, 0: the preferred leaders.
  std::string topic;
  std::vector<int32_t> partitions;
  std::vector<int32_t> replicas;  // reassign: the target.
  std::string file;               // reassign: a ReassignPartitionsRequest as JSON.
  bool wait = false;
  bool all = false;  // elect: in all topics.
};
ExitCode RunCluster(const ClusterOptions& options);

struct MetadataOptions {
  CommonOptions common;
  std::string action;                  // "status", "transfer"; "list", "add", ... of members.
  std::vector<std::string> addresses;  // Of the metadata nodes.
  int32_t node = 0;                    // transfer: who shall lead; remove, promote: who.
  std::string member;                  // add, move: ID=HOST:PORT.
  bool learner = false;                // add: do not promote.
};
ExitCode RunMetadata(const MetadataOptions& options);

struct ZnodeOptions {
  CommonOptions common;
  std::string action;  // "ls", "get", "create", "set", "delete", "watch", "elect", "lock".
  std::string path;
  std::string data;  // "-": standard input.
  std::string consistency = "linearizable";
  bool long_listing = false;
  bool recursive = false;
  bool stat = false;
  bool ephemeral = false;
  bool sequential = false;
  bool parents = false;
  std::optional<int64_t> if_version;
  bool children = false;  // watch: what.
  bool subtree = false;
  std::optional<uint64_t> after;
  int64_t count = 0;  // watch: 0: no limit.
  std::string value;  // elect: what others see of the leader.
  std::string session_timeout = "10s";
  std::string grace = "10s";         // Between SIGTERM and SIGKILL.
  std::vector<std::string> command;  // What stands after "--".
};
ExitCode RunZnode(const ZnodeOptions& options);

struct ProduceOptions {
  CommonOptions common;
  std::string topic;
  std::string file = "-";
  std::optional<std::string> key;
  std::string key_delimiter;
  std::vector<std::string> headers;  // name=value
  std::optional<int32_t> partition;
  std::string compression;  // Empty: as the topic says.
  std::string format;
  std::string acks = "all";
  double rate = 0;  // Records a second; 0 is as fast as possible.
  bool empty_is_null = false;
  std::string linger = "0";
  std::string batch_bytes = "64KiB";
  bool no_idempotence = false;
  bool retry_uncertain = false;
  bool quiet = false;
};
ExitCode RunProduce(const ProduceOptions& options);

struct ConsumeOptions {
  CommonOptions common;
  std::vector<std::string> topics;
  std::vector<int32_t> partitions;
  std::string offset = "end";
  std::string format;
  bool json = false;
  int64_t count = 0;  // 0: no limit.
  bool exit_at_end = false;
  bool meta_only = false;
  std::string grep;
  std::string null_text;
  bool quiet = false;
};
ExitCode RunConsume(const ConsumeOptions& options);

struct DebugOptions {
  std::string path;
  int64_t limit = 0;
  bool records = false;
  OutputMode output = OutputMode::kAuto;
};
ExitCode RunDebug(const DebugOptions& options);

struct BundleOptions {
  CommonOptions common;
  std::string directory;          // Made if it does not exist; else empty.
  std::vector<std::string> http;  // host:port of the HTTP ports of servers.
};
ExitCode RunBundle(const BundleOptions& options);

struct VerifyOptions {
  std::vector<std::string> paths;
  std::string acknowledged;  // A file; empty: none.
  bool in_sync = false;
  bool nothing_deleted = false;
  int32_t replicas = 1;  // Every partition is on so many nodes.
};
ExitCode RunVerify(const VerifyOptions& options);

struct RecoverQuorumOptions {
  std::string path;     // The data directory of a stopped metadata node.
  int32_t node = 0;     // Whose it is.
  std::string address;  // Where the other nodes will find it; may be empty.
  bool yes_lose_data = false;
  OutputMode output = OutputMode::kAuto;
};
ExitCode RunRecoverQuorum(const RecoverQuorumOptions& options);

struct ReleaseQuarantineOptions {
  std::string path;  // The data directory of a stopped storage node.
  bool yes_lose_data = false;
  OutputMode output = OutputMode::kAuto;
};
ExitCode RunReleaseQuarantine(const ReleaseQuarantineOptions& options);

struct DevOptions {
  std::string data;
  int metadata = 1;
  int storage = 1;
  int gateways = 1;
  int port = 7400;
  int http_port = 7401;
};
ExitCode RunDev(const DevOptions& options);

struct BenchOptions {
  CommonOptions common;
  std::string
      workload;        // "produce", "consume", "end-to-end", "backlog", "many-partitions", "suite".
  std::string topic;   // Empty: a new one, deleted afterwards.
  int partitions = 0;  // 0: what suits the workload.
  int replicas = 1;    // Of a new topic; all but one must be in sync.
  double rate = 0;     // Records a second; 0 searches the highest.
  int64_t records = 0;
  double seconds = 0;
  std::string record_size = "1KiB";
  std::string batch_bytes = "16KiB";
  std::string linger = "0";
  std::string durability = "fsync";
  std::string acks = "all";
  bool no_idempotence = false;
  std::string compression = "none";
  std::string input;  // Lines of key<TAB>value.
  int producers = 1;
  int consumers = 1;
  bool closed = false;
  std::vector<std::string> processes;  // name=pid
  bool dev = false;                    // Starts a cluster of its own.
  std::string data;                    // For --dev; empty: a temporary directory.
  int storage_nodes = 1;
  std::string json;  // Where the result goes; "-" is standard output.
  bool keep_topic = false;
};
ExitCode RunBench(const BenchOptions& options);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_COMMANDS_H_
