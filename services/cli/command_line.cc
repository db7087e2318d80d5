// The only file that knows CLI11, which is slow to compile.
#include "services/cli/command_line.h"

#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"

#include "libs/telemetry/process_metrics.h"
#include "services/cli/command_examples.h"
#include "services/cli/commands.h"
#include "services/cli/completion.h"
#include "services/cli/held_command.h"

namespace falaj::cli {
namespace {

// What has been chosen. The commands' options live here until they run.
struct Choice {
  CommonOptions common;
  ContextOptions context;
  TopicOptions topic;
  ClusterOptions cluster;
  MetadataOptions metadata;
  ZnodeOptions znode;
  ProduceOptions produce;
  ConsumeOptions consume;
  DebugOptions debug;
  BundleOptions bundle;
  VerifyOptions verify;
  RecoverQuorumOptions recover_quorum;
  ReleaseQuarantineOptions release_quarantine;
  DevOptions dev;
  BenchOptions bench;
  std::string completion_shell;
  std::function<ExitCode()> run;
};

// --output, for the commands whose -o is free.
void AddOutput(CLI::App* app, OutputMode* mode) {
  static const std::map<std::string, OutputMode> kModes = {
      {"table", OutputMode::kTable}, {"tsv", OutputMode::kTsv}, {"json", OutputMode::kJson}};
  app->add_option("-o,--output", *mode,
                  "table, tsv or json; default: table on a terminal, else tsv")
      ->transform(CLI::CheckedTransformer(kModes, CLI::ignore_case))
      ->type_name("FORMAT");
}

void AddCommon(CLI::App* app, CommonOptions* common) {
  app->add_option("--address", common->address, "host:port of a gateway (FALAJ_ADDRESS)");
  app->add_option("--context", common->context, "A named cluster (FALAJ_CONTEXT)");
  app->add_option("--timeout", common->timeout, "How long to wait for the cluster")
      ->capture_default_str();
}

void AddContext(CLI::App* app, Choice* choice) {
  ContextOptions* o = &choice->context;
  CLI::App* context = app->add_subcommand("context", "Names for the clusters you work with");
  context->require_subcommand(1);
  context->footer(Examples({"falaj context add prod gateway.example:7400 -d 'the real thing'",
                            "falaj context use prod", "falaj context previous"}));
  const auto add = [&](const char* name, const char* help, bool named) {
    CLI::App* sub = context->add_subcommand(name, help);
    if (named) sub->add_option("name", o->name, "Name of the context")->required();
    sub->callback([=] {
      o->action = name;
      choice->run = [o] { return RunContext(*o); };
    });
    return sub;
  };
  CLI::App* create = add("add", "Add or replace a context", true);
  create->add_option("address", o->address, "host:port of a gateway")->required();
  create->add_option("-d,--description", o->description, "For people");
  add("use", "Make a context the current one", true);
  AddOutput(add("list", "List the contexts", false), &o->output);
  CLI::App* show = add("show", "Show one context, or the current one", false);
  show->add_option("name", o->name, "Name of the context");
  AddOutput(show, &o->output);
  add("remove", "Remove a context", true);
  add("previous", "Go back to the context used before", false);
}

void AddSettings(CLI::App* app, TopicSettings* s) {
  app->add_option("--retention", s->retention, "Keep records this long: 90s, 12h, 7d; 0: for ever");
  app->add_option("--retention-bytes", s->retention_bytes, "Keep about this much of a partition");
  app->add_option("--durability", s->durability, "fsync or os");
  app->add_option("--compression", s->compression, "none, lz4 or zstd");
  app->add_option("--batch-bytes-max", s->batch_bytes_max, "Largest encoded batch");
  app->add_option("--min-in-sync-replicas", s->min_in_sync_replicas, "For acks all");
  app->add_option("--timestamp-type", s->timestamp_type, "create or append");
  app->add_option("--unclean-election-after", s->unclean_election_after,
                  "Without a leader for so long, take one that may lack records; 0: never");
}

void AddTopicChanges(TopicOptions* o,
                     const std::function<CLI::App*(const char*, const char*)>& add) {
  CLI::App* update = add("update", "Change settings");
  update->add_option("name", o->names, "The topic")->required()->expected(1);
  AddSettings(update, &o->settings);
  update->add_option("-r,--replicas", o->replicas, "Replicas of each partition");
  update->add_flag("--wait", o->wait, "Until there are so many replicas");
  update->add_option("--unset", o->unset, "Settings to return to their default, e.g. retention");
  CLI::App* remove = add("delete", "Delete topics and their records");
  remove->add_option("names", o->names, "Topics")->required();
  CLI::App* grow = add("add-partitions", "Raise the number of partitions");
  grow->add_option("name", o->names, "The topic")->required()->expected(1);
  grow->add_option("-p,--partitions", o->partitions, "The new total")->required();
  CLI::App* truncate = add("truncate", "Delete the oldest records");
  truncate->add_option("name", o->names, "The topic")->required()->expected(1);
  truncate->add_option("--before", o->before, "Delete records below: an offset, end, @TIME")
      ->required();
  truncate->add_option("-p,--partitions", o->only_partitions, "Only these")->delimiter(',');
}

void AddTopic(CLI::App* app, Choice* choice) {
  TopicOptions* o = &choice->topic;
  CLI::App* topic = app->add_subcommand("topic", "Create, look at, change and delete topics");
  topic->require_subcommand(1);
  const std::function<CLI::App*(const char*, const char*)> add = [=](const char* name,
                                                                     const char* help) {
    CLI::App* sub = topic->add_subcommand(name, help);
    AddCommon(sub, &o->common);
    AddOutput(sub, &o->common.output);
    sub->callback([=] {
      o->action = name;
      choice->run = [o] { return RunTopic(*o); };
    });
    return sub;
  };
  CLI::App* create = add("create", "Create topics");
  create->add_option("names", o->names, "Topics")->required();
  create->add_option("-p,--partitions", o->partitions, "Partitions (default 1)");
  create->add_option("-r,--replicas", o->replicas, "Replicas of each partition (default 1)");
  AddSettings(create, &o->settings);
  create->add_flag("--if-not-exists", o->if_not_exists, "A topic that is there is fine");
  create->add_flag("--validate-only", o->validate_only, "Check, and create nothing");
  CLI::App* list = add("list", "List topics");
  list->add_flag("--internal", o->internal, "Also those whose name begins with __");
  CLI::App* describe = add("describe", "Show partitions, leaders and offsets");
  describe->add_option("names", o->names, "Topics")->required();
  AddTopicChanges(o, add);
}

using AddClusterCommand = std::function<CLI::App*(const char*, const char*)>;

void AddMoves(ClusterOptions* o, const AddClusterCommand& add) {
  CLI::App* drain = add("drain", "Move everything off a storage node, and put nothing on it");
  drain->add_option("node", o->node, "Its id")->required();
  drain->add_flag("--wait", o->wait, "Until it is empty");
  add("undrain", "Use a storage node again")->add_option("node", o->node, "Its id")->required();
  CLI::App* reassign = add("reassign", "Move partitions to other storage nodes");
  reassign->add_option("topic", o->topic, "The topic");
  reassign->add_option("-p,--partition", o->partitions, "The partition")->expected(1);
  reassign
      ->add_option("--replicas", o->replicas, "Where it goes, preferred leader first, e.g. 1,2,3")
      ->delimiter(',');
  reassign->add_option("--file", o->file, "Many at once: a ReassignPartitionsRequest as JSON")
      ->check(CLI::ExistingFile);
  reassign->add_flag("--wait", o->wait, "Until they are there");
  add("reassignments", "What is on its way")->add_option("topic", o->topic, "Only of this topic");
  CLI::App* cancel = add("cancel", "Take partitions back to where they came from");
  cancel->add_option("topic", o->topic, "The topic")->required();
  cancel->add_option("-p,--partitions", o->partitions, "Only these, e.g. 0,2")->delimiter(',');
  CLI::App* elect = add("elect", "Hand the lead to the preferred leaders, or to one node");
  elect->add_option("--node", o->node, "Who shall lead; default: the preferred leaders");
  elect->add_option("topic", o->topic, "The topic");
  elect->add_option("-p,--partitions", o->partitions, "Only these")->delimiter(',');
  elect->add_flag("--all", o->all, "In all topics")->excludes("topic", "--node", "--partitions");
}

void AddCluster(CLI::App* app, Choice* choice) {
  ClusterOptions* o = &choice->cluster;
  CLI::App* cluster = app->add_subcommand("cluster", "Look at the cluster, move partitions in it");
  cluster->require_subcommand(1);
  const AddClusterCommand add = [=](const char* name, const char* help) {
    CLI::App* sub = cluster->add_subcommand(name, help);
    AddCommon(sub, &o->common);
    AddOutput(sub, &o->common.output);
    sub->callback([=] {
      o->action = name;
      choice->run = [o] { return RunCluster(*o); };
    });
    return sub;
  };
  const std::pair<const char*, const char*> subs[] = {
      {"status", "Size and state in one row"},
      {"health", "ok or failing, and why; the exit code says the same"},
      {"nodes", "Storage nodes"},
      {"partitions", "Leaders and replicas of every partition"},
      {"watch", "Follow every change until Ctrl-C"}};
  for (const auto& [name, help] : subs) {
    CLI::App* sub = add(name, help);
    if (std::string(name) != "partitions") continue;
    sub->add_flag("--under-replicated", o->under_replicated, "Only those short of replicas");
    sub->add_flag("--leaderless", o->leaderless, "Only those without a leader");
  }
  AddMoves(o, add);
}

using AddSubcommand = std::function<CLI::App*(CLI::App*, const char*, const char*)>;

void AddMembers(CLI::App* metadata, MetadataOptions* o, const AddSubcommand& add) {
  CLI::App* members = metadata->add_subcommand("members", "Who belongs to the quorum");
  members->require_subcommand(1);
  members->footer(Examples({"falaj metadata members list --metadata m1:7400,m2:7400,m3:7400",
                            "falaj metadata members add 4=m4:7400 --metadata m1:7400,m2:7400",
                            "falaj metadata members remove 2 --metadata m1:7400,m3:7400,m4:7400"}));
  AddOutput(add(members, "list", "Members, and how far each is"), &o->common.output);
  CLI::App* join = add(members, "add", "Add a member: as a learner, then as a voter");
  join->add_option("member", o->member, "ID=HOST:PORT of the new member")->required();
  join->add_flag("--learner", o->learner, "Stop before it votes");
  CLI::App* move = add(members, "move", "Give a member another address");
  move->add_option("member", o->member, "ID=HOST:PORT")->required();
  CLI::App* remove = add(members, "remove", "Remove a member for good");
  remove->add_option("node", o->node, "Its id, never to be used again")->required();
  CLI::App* promote = add(members, "promote", "Let a learner vote");
  promote->add_option("node", o->node, "Its id")->required();
}

void AddMetadata(CLI::App* app, Choice* choice) {
  MetadataOptions* o = &choice->metadata;
  CLI::App* metadata = app->add_subcommand("metadata", "Look after the metadata nodes");
  metadata->require_subcommand(1);
  metadata->footer(Examples({"falaj metadata status --metadata m1:7400,m2:7400,m3:7400",
                             "falaj metadata transfer 2 --metadata m1:7400,m2:7400,m3:7400",
                             "falaj metadata members add 4=m4:7400 --metadata m1:7400,m2:7400"}));
  const AddSubcommand add = [=](CLI::App* parent, const char* name, const char* help) {
    CLI::App* sub = parent->add_subcommand(name, help);
    AddCommon(sub, &o->common);
    sub->add_option("--metadata", o->addresses, "host:port of every metadata node")
        ->delimiter(',')
        ->required();
    sub->callback([=] {
      o->action = name;
      choice->run = [o] { return RunMetadata(*o); };
    });
    return sub;
  };
  AddOutput(add(metadata, "status", "Every node's role, term and log"), &o->common.output);
  add(metadata, "transfer", "Hand the lead to another node")
      ->add_option("node", o->node, "Id of the node that shall lead")
      ->required();
  AddMembers(metadata, o, add);
}

void AddSessionOptions(CLI::App* sub, ZnodeOptions* o) {
  sub->add_option("--session-timeout", o->session_timeout,
                  "The session ends so long after the last sign of life")
      ->capture_default_str();
  sub->add_option("--grace", o->grace, "From SIGTERM to SIGKILL when the session is lost")
      ->capture_default_str();
}

void AddZnodeReads(ZnodeOptions* o, const std::function<CLI::App*(const char*, const char*)>& add) {
  CLI::App* list = add("ls", "List the children of a znode");
  list->add_flag("-l,--long", o->long_listing, "With versions, sessions, times");
  list->add_flag("-r,--recursive", o->recursive, "Everything below it");
  CLI::App* get = add("get", "Print the data of a znode");
  get->add_flag("--stat", o->stat, "What is known about it instead");
  for (CLI::App* sub : {list, get}) {
    sub->add_option("--consistency", o->consistency, "linearizable, or local: faster, possibly old")
        ->capture_default_str();
  }
  CLI::App* watch = add("watch", "Print every change as a line until Ctrl-C");
  CLI::Option* children = watch->add_flag("--children", o->children, "Of its children instead");
  watch->add_flag("--subtree", o->subtree, "Of it and everything below")->excludes(children);
  watch->add_option("--after", o->after, "Begin after this index, without a gap");
  watch->add_option("-n,--count", o->count, "Stop after this many changes");
}

void AddZnodeWrites(ZnodeOptions* o,
                    const std::function<CLI::App*(const char*, const char*)>& add) {
  CLI::App* create = add("create", "Create a znode");
  create->add_option("data", o->data, "Its data; -: standard input");
  create->add_flag("-e,--ephemeral", o->ephemeral,
                   "It goes with this command: after Ctrl-C, or the COMMAND after --");
  create->add_flag("-s,--sequential", o->sequential, "Append a number to the path");
  create->add_flag("-p,--parents", o->parents, "Create missing parents");
  AddSessionOptions(create, o);
  CLI::App* set = add("set", "Replace the data of a znode");
  set->add_option("data", o->data, "The new data; -: standard input")->required();
  CLI::App* remove = add("delete", "Remove a znode");
  remove->add_flag("-r,--recursive", o->recursive, "And everything below it, one by one");
  for (CLI::App* sub : {set, remove}) {
    sub->add_option("--if-version", o->if_version, "Only if it has this version");
  }
  const std::pair<const char*, const char*> holds[] = {
      {"elect", "Stand for election; run the COMMAND after -- while leading"},
      {"lock", "Take a lock; run the COMMAND after -- while holding it"}};
  for (const auto& [name, help] : holds) {
    CLI::App* sub = add(name, help);
    sub->add_option("--value", o->value, "What others see of the leader; default: host:pid");
    AddSessionOptions(sub, o);
  }
}

void AddZnode(CLI::App* app, Choice* choice) {
  ZnodeOptions* o = &choice->znode;
  CLI::App* znode = app->add_subcommand("znode", "Coordinate: a tree of small values, elections");
  znode->require_subcommand(1);
  znode->footer(Examples({"falaj znode create /app/config '{\"limit\": 5}' -p",
                          "falaj znode watch /app --subtree",
                          "falaj znode elect /app/leader -- sh -c 'work $FALAJ_FENCING_TOKEN'"}));
  const std::function<CLI::App*(const char*, const char*)> add = [=](const char* name,
                                                                     const char* help) {
    CLI::App* sub = znode->add_subcommand(name, help);
    AddCommon(sub, &o->common);
    AddOutput(sub, &o->common.output);
    sub->add_option("path", o->path, "Path of the znode, /like/this")->required();
    sub->callback([=] {
      o->action = name;
      choice->run = [o] { return RunZnode(*o); };
    });
    return sub;
  };
  AddZnodeReads(o, add);
  AddZnodeWrites(o, add);
}

void AddProduce(CLI::App* app, Choice* choice) {
  ProduceOptions* o = &choice->produce;
  CLI::App* produce = app->add_subcommand("produce", "Append records, one from each line of input");
  AddCommon(produce, &o->common);
  produce->add_option("topic", o->topic, "The topic")->required();
  produce->add_option("--file", o->file, "Read this file, also .zst; -: standard input")
      ->capture_default_str();
  produce->add_option("-k,--key", o->key, "Key of every record");
  produce->add_option("-K,--key-delimiter", o->key_delimiter, "Splits a line into key and value");
  produce->add_option("-H,--header", o->headers, "name=value, may be repeated");
  produce->add_option("-p,--partition", o->partition, "Default: by key");
  produce->add_option("-z,--compression", o->compression, "none, lz4, zstd; default: the topic's");
  produce->add_option("-f,--format", o->format,
                      "Read lines by tokens %k %s %h %T %p, e.g. '%k %s'");
  produce->add_option("--acks", o->acks, "all, leader or none")->capture_default_str();
  produce->add_option("--rate", o->rate, "Records a second; 0: as fast as possible");
  produce->add_flag("-Z,--empty-is-null", o->empty_is_null, "Empty keys and values become null");
  produce->add_option("--linger", o->linger, "Wait this long for a batch")->capture_default_str();
  produce->add_option("--batch-bytes", o->batch_bytes, "Size of a batch")->capture_default_str();
  produce->add_flag("--no-idempotence", o->no_idempotence,
                    "Without sequences: what may have been appended is not sent again");
  produce->add_flag("--retry-uncertain", o->retry_uncertain,
                    "With --no-idempotence: send it again all the same: never lost, perhaps twice");
  produce->add_flag("-q,--quiet", o->quiet, "No progress and no summary");
  produce->footer(Examples({"echo hello | falaj produce greetings",
                            R"(falaj produce flights -K '\t' -Z --file flights.tsv.zst)",
                            R"(falaj produce orders -f '%k;%s' -H source=shop < orders.csv)"}));
  produce->callback([=] { choice->run = [o] { return RunProduce(*o); }; });
}

void AddConsume(CLI::App* app, Choice* choice) {
  ConsumeOptions* o = &choice->consume;
  CLI::App* consume = app->add_subcommand("consume", "Print records");
  AddCommon(consume, &o->common);
  consume->add_option("topics", o->topics, "Topics")->required();
  consume->add_option("-p,--partitions", o->partitions, "Only these, e.g. 0,2")->delimiter(',');
  consume
      ->add_option("-o,--offset", o->offset,
                   "start, end, 500, -10 (the last 10), @TIME, +15m (the last 15 minutes), A:B")
      ->capture_default_str();
  consume->add_option("-f,--format", o->format,
                      "%s value %S size %k key %K size %T time %h headers %t topic %p partition "
                      "%o offset; \\n \\t \\xHH");
  consume->add_flag("-J,--json", o->json, "One JSON object per record");
  consume->add_option("-n,--count", o->count, "Stop after this many records");
  consume->add_flag("-e,--exit", o->exit_at_end, "Stop at the end of what is there now");
  consume->add_flag("--meta-only", o->meta_only, "Offsets, times and sizes only");
  consume->add_option("--grep", o->grep, "Only records whose key or value matches (RE2)");
  consume->add_option("-Z,--null", o->null_text, "What to print for null")->default_str("");
  consume->add_flag("-q,--quiet", o->quiet, "No summary");
  consume->callback([=] { choice->run = [o] { return RunConsume(*o); }; });
}

// For what an operator does to a stopped node when nothing better is left. `o` is what the command
// is run with.
template <typename Options>
void AddLastResort(CLI::App* sub, const char* directory, Options* o) {
  sub->add_option("path", o->path, directory)->required()->check(CLI::ExistingDirectory);
  sub->add_flag("--yes-lose-data", o->yes_lose_data, "Do it; without this it only tells the risks");
  AddOutput(sub, &o->output);
}

void AddRecoverQuorum(CLI::App* debug, Choice* choice) {
  RecoverQuorumOptions* o = &choice->recover_quorum;
  CLI::App* sub = debug->add_subcommand(
      "recover-quorum",
      "Go on with one metadata node after the majority is lost for good; loses data");
  AddLastResort(sub, "Data directory of a stopped metadata node", o);
  sub->add_option("--node", o->node, "Id of the node whose directory it is")->required();
  sub->add_option("--node-address", o->address, "host:port where new nodes will find it");
  sub->callback([=] { choice->run = [o] { return RunRecoverQuorum(*o); }; });
}

void AddBundle(CLI::App* debug, Choice* choice) {
  BundleOptions* o = &choice->bundle;
  CLI::App* sub = debug->add_subcommand(
      "bundle", "Collect what the cluster says of itself into a directory; no records");
  AddCommon(sub, &o->common);
  sub->add_option("directory", o->directory, "Where; an empty or a new directory")->required();
  sub->add_option("--http", o->http, "host:port of /metrics of every server to ask")
      ->delimiter(',');
  sub->callback([=] { choice->run = [o] { return RunBundle(*o); }; });
}

void AddReleaseQuarantine(CLI::App* debug, Choice* choice) {
  ReleaseQuarantineOptions* o = &choice->release_quarantine;
  CLI::App* sub = debug->add_subcommand(
      "release-quarantine",
      "Let go of the partitions that a recovered metadata quorum does not give a storage node");
  AddLastResort(sub, "Data directory of a stopped storage node", o);
  sub->callback([=] { choice->run = [o] { return RunReleaseQuarantine(*o); }; });
}

void AddVerify(CLI::App* debug, Choice* choice) {
  VerifyOptions* o = &choice->verify;
  CLI::App* sub = debug->add_subcommand(
      "verify", "Check every batch, and that replicas are alike; exit code 1 if not");
  sub->add_option("paths", o->paths,
                  "Data directories of stopped storage nodes, or files of batches")
      ->required()
      ->check(CLI::ExistingPath);
  sub->add_option("--acknowledged", o->acknowledged,
                  "Lines of topic id, partition, offset and value, tabs between them: all must be "
                  "on every replica")
      ->check(CLI::ExistingFile);
  sub->add_flag("--in-sync", o->in_sync,
                "All were in sync when they stopped: compare up to the end of the shortest log, "
                "not to the lowest high watermark");
  sub->add_option("--replicas", o->replicas, "Every partition must be on so many of them, at least")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  sub->add_flag(
      "--nothing-deleted", o->nothing_deleted,
      "Neither retention nor anybody deleted records: what is below the start of a log is "
      "missing");
  sub->callback([=] { choice->run = [o] { return RunVerify(*o); }; });
}

void AddDebug(CLI::App* app, Choice* choice) {
  DebugOptions* o = &choice->debug;
  CLI::App* debug =
      app->add_subcommand("debug", "Look into a cluster, and into the files of stopped nodes");
  AddBundle(debug, choice);
  AddRecoverQuorum(debug, choice);
  AddReleaseQuarantine(debug, choice);
  AddVerify(debug, choice);
  debug->require_subcommand(1);
  const std::pair<const char*, const char*> subs[] = {
      {"dump-batch", "Print the encoded batches in a file"},
      {"dump-log", "Print the batches in a storage directory"}};
  for (const auto& [name, help] : subs) {
    CLI::App* sub = debug->add_subcommand(name, help);
    sub->add_option("path", o->path, "File or directory")->required()->check(CLI::ExistingPath);
    sub->add_option("--limit", o->limit, "Stop after this many batches");
    sub->add_flag("--records", o->records, "Print records instead of batches");
    AddOutput(sub, &o->output);
    sub->callback([=] { choice->run = [o] { return RunDebug(*o); }; });
  }
}

void AddDev(CLI::App* app, Choice* choice) {
  DevOptions* o = &choice->dev;
  CLI::App* dev = app->add_subcommand("dev", "Run a whole cluster in this process");
  dev->add_option("--data", o->data, "Where everything is kept")->required();
  dev->add_option("--metadata", o->metadata, "Metadata nodes")->capture_default_str();
  dev->add_option("--storage", o->storage, "Storage nodes")->capture_default_str();
  dev->add_option("--gateways", o->gateways, "Gateways")->capture_default_str();
  dev->add_option("--port", o->port, "gRPC port of the first gateway; 0: any")
      ->capture_default_str();
  dev->add_option("--http-port", o->http_port, "HTTP port of the first gateway; 0: any")
      ->capture_default_str();
  dev->callback([=] { choice->run = [o] { return RunDev(*o); }; });
}

void AddBenchLoad(CLI::App* bench, BenchOptions* o) {
  bench->add_option("--topic", o->topic, "Default: a new one, deleted afterwards");
  bench->add_option("--partitions", o->partitions, "Of a new topic");
  bench->add_option("--replicas", o->replicas, "Of a new topic; all but one must be in sync")
      ->capture_default_str()
      ->check(CLI::Range(1, 100));
  bench->add_option("--rate", o->rate, "Records a second; 0: search the highest");
  bench->add_option("--records", o->records, "Stop after this many");
  bench->add_option("--seconds", o->seconds, "Stop after this long");
  bench->add_option("--record-size", o->record_size, "Value size")->capture_default_str();
  bench->add_option("--batch-bytes", o->batch_bytes, "Size of a batch")->capture_default_str();
  bench->add_option("--linger", o->linger, "Wait this long for a batch")->capture_default_str();
  bench->add_option("--durability", o->durability, "fsync or os, of a new topic")
      ->capture_default_str();
  bench->add_option("--acks", o->acks, "all, leader or none")->capture_default_str();
  bench->add_flag("--no-idempotence", o->no_idempotence, "Producers without sequences");
  bench->add_option("--compression", o->compression, "none, lz4 or zstd")->capture_default_str();
  bench->add_option("--input", o->input, "Records from lines key<TAB>value, also .zst");
  bench->add_option("--producers", o->producers, "At once")->capture_default_str();
  bench->add_option("--consumers", o->consumers, "At once")->capture_default_str();
  bench->add_flag("--closed", o->closed, "As fast as answers come, instead of on a schedule");
}

void AddBench(CLI::App* app, Choice* choice) {
  BenchOptions* o = &choice->bench;
  CLI::App* bench = app->add_subcommand(
      "bench", "Measure; exit code 1 on a lost or double record, and if suite misses a bound");
  AddCommon(bench, &o->common);
  bench
      ->add_option("workload", o->workload,
                   "produce, consume, end-to-end, backlog, many-partitions or suite")
      ->required()
      ->check(CLI::IsMember(
          {"produce", "consume", "end-to-end", "backlog", "many-partitions", "suite"}));
  AddBenchLoad(bench, o);
  bench->add_option("--pid", o->processes, "name=pid of a process to account for; repeatable");
  bench->add_flag("--dev", o->dev, "Start a cluster of processes for this run");
  bench->add_option("--data", o->data, "Directory for --dev; default: a temporary one");
  bench->add_option("--storage", o->storage_nodes, "Storage nodes of --dev; at least --replicas")
      ->capture_default_str();
  bench->add_option("--json", o->json, "Write the result here; -: standard output");
  bench->add_flag("--keep-topic", o->keep_topic, "Do not delete the topic that was made");
  bench->callback([=] { choice->run = [o] { return RunBench(*o); }; });
}

void AddCompletion(CLI::App* app, Choice* choice) {
  CLI::App* completion = app->add_subcommand("completion", "Print shell completion");
  completion->add_option("shell", choice->completion_shell, "bash or zsh")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh"}));
  completion->footer(Examples({"source <(falaj completion bash)",
                               "falaj completion bash > /etc/bash_completion.d/falaj",
                               "falaj completion zsh > ~/.zfunc/_falaj"}));
  completion->callback([=] {
    choice->run = [app, choice] {
      std::map<std::string, std::vector<std::string>> words;
      for (const CLI::App* sub : app->get_subcommands({})) {
        words[""].push_back(sub->get_name());
        for (const CLI::App* leaf : sub->get_subcommands({})) {
          words[sub->get_name()].push_back(leaf->get_name());
        }
      }
      std::fputs(CompletionScript(choice->completion_shell, words).c_str(), stdout);
      return ExitCode::kOk;
    };
  });
}

// Subcommands whose help has no examples of its own get theirs from command_examples.cc.
void AddExamples(CLI::App* app, const std::string& prefix) {
  for (CLI::App* sub : app->get_subcommands([](CLI::App*) { return true; })) {
    const std::string name = absl::StrCat(prefix, sub->get_name());
    AddExamples(sub, name + " ");
    const std::vector<std::string> examples = ExamplesOf(name);
    if (!examples.empty()) sub->footer(Examples(examples));
  }
}

std::string Version() {
  return absl::StrCat("falaj ", telemetry::BuildVersion(), " (", telemetry::BuildRevision(), ")");
}

}  // namespace

ExitCode RunCommandLine(int argc, const char* const* argv) {
  CLI::App app("Falaj, a distributed event log.", "falaj");
  Choice choice;
  app.require_subcommand(1);
  app.set_version_flag("--version", Version());
  app.footer(Examples({"falaj dev --data /tmp/falaj", "falaj topic create orders -p 6",
                       "falaj consume orders -o start -e"}));
  AddContext(&app, &choice);
  AddTopic(&app, &choice);
  AddCluster(&app, &choice);
  AddMetadata(&app, &choice);
  AddZnode(&app, &choice);
  AddProduce(&app, &choice);
  AddConsume(&app, &choice);
  AddBench(&app, &choice);
  AddDebug(&app, &choice);
  AddDev(&app, &choice);
  AddCompletion(&app, &choice);
  app.add_subcommand("version", "Print the version")->callback([&] {
    choice.run = [] {
      std::puts(Version().c_str());
      return ExitCode::kOk;
    };
  });
  AddExamples(&app, "");
  try {
    app.parse(TakeCommand(argc, argv, &choice.znode.command), argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? ExitCode::kOk : ExitCode::kUsage;
  }
  return choice.run();
}

}  // namespace falaj::cli
