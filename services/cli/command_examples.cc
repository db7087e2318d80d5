#include "services/cli/command_examples.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace falaj::cli {
namespace {

// A line for each example: the command, and what follows it.
constexpr std::pair<absl::string_view, absl::string_view> kExamples[] = {
    {"version", ""},
    {"context add", "prod gateway.example:7400"},
    {"context add", "dev 127.0.0.1:7400 -d 'on this machine'"},
    {"context use", "prod"},
    {"context list", ""},
    {"context list", "-o json"},
    {"context show", ""},
    {"context show", "prod -o json"},
    {"context remove", "dev"},
    {"context previous", ""},
    {"topic", "create orders -p 6 --retention 7d"},
    {"topic", "describe orders -o json"},
    {"topic", "truncate orders --before @-24h"},
    {"topic create", "orders -p 6 --retention 7d"},
    {"topic create", "orders --replicas 3 --min-in-sync-replicas 2 --if-not-exists"},
    {"topic create", "orders -p 6 --validate-only"},
    {"topic list", ""},
    {"topic list", "-o json | jq -r .name"},
    {"topic describe", "orders"},
    {"topic describe", "orders payments -o json"},
    {"topic update", "orders --retention 12h"},
    {"topic update", "orders --unset retention compression"},
    {"topic update", "orders --replicas 3 --wait"},
    {"topic delete", "orders"},
    {"topic delete", "orders payments"},
    {"topic add-partitions", "orders -p 12"},
    {"topic truncate", "orders --before @-24h"},
    {"topic truncate", "orders --before 5000 -p 0,2"},
    {"topic truncate", "orders --before end"},
    {"cluster", "health && echo fine"},
    {"cluster", "nodes"},
    {"cluster", "partitions --leaderless"},
    {"cluster", "reassign orders -p 0 --replicas 2,3,4 --wait"},
    {"cluster", "drain 3 --wait"},
    {"cluster status", ""},
    {"cluster status", "-o json"},
    {"cluster health", "&& echo fine"},
    {"cluster health", "-o json"},
    {"cluster nodes", ""},
    {"cluster nodes", R"(-o json | jq -r 'select(.state != "online").node')"},
    {"cluster partitions", "--under-replicated"},
    {"cluster partitions", "--leaderless -o json"},
    {"cluster watch", ""},
    {"cluster watch", R"(-o json | jq -c 'select(.kind == "node")')"},
    {"cluster drain", "3 --wait"},
    {"cluster undrain", "3"},
    {"cluster reassign", "orders -p 0 --replicas 2,3,4 --wait"},
    {"cluster reassign", "--file plan.json"},
    {"cluster reassignments", ""},
    {"cluster reassignments", "orders -o json"},
    {"cluster cancel", "orders"},
    {"cluster cancel", "orders -p 0,2"},
    {"cluster elect", "orders"},
    {"cluster elect", "orders -p 0 --node 2"},
    {"metadata status", "--metadata m1:7400,m2:7400,m3:7400"},
    {"metadata transfer", "2 --metadata m1:7400,m2:7400,m3:7400"},
    {"metadata members list", "--metadata m1:7400,m2:7400,m3:7400"},
    {"metadata members add", "4=m4:7400 --metadata m1:7400,m2:7400,m3:7400"},
    {"metadata members add", "4=m4:7400 --learner --metadata m1:7400"},
    {"metadata members move", "2=new-host:7400 --metadata m1:7400,m3:7400"},
    {"metadata members remove", "2 --metadata m1:7400,m3:7400,m4:7400"},
    {"metadata members promote", "4 --metadata m1:7400,m2:7400,m3:7400"},
    {"znode ls", "/app"},
    {"znode ls", "/ -r -l"},
    {"znode get", "/app/config"},
    {"znode get", "/app/config --stat"},
    {"znode get", "/app/config --consistency local"},
    {"znode create", R"(/app/config '{"limit": 5}' -p)"},
    {"znode create", "/app/workers/w- -e -s -- sh -c work"},
    {"znode set", R"(/app/config '{"limit": 6}' --if-version 0)"},
    {"znode set", "/app/config - < config.json"},
    {"znode delete", "/app/config"},
    {"znode delete", "/app -r"},
    {"znode watch", "/app --subtree"},
    {"znode watch", "/app --children -n 1"},
    {"znode elect", "/app/leader -- sh -c 'work $FALAJ_FENCING_TOKEN'"},
    {"znode elect", "/app/leader --value host-7 --session-timeout 5s -- work"},
    {"znode lock", "/app/nightly -- ./backup.sh"},
    {"consume", R"(orders -o start -e -f '%p %o %k %s\n')"},
    {"consume", "orders -o -10 -e -J | jq .payload"},
    {"consume", "orders -o @-2h --grep 'status.:.failed'"},
    {"debug", "dump-batch captured.bin --records"},
    {"debug", "dump-log /var/lib/falaj/storage-1 --limit 20"},
    {"debug", "verify /mnt/storage-1 /mnt/storage-2 /mnt/storage-3"},
    {"debug", "recover-quorum /var/lib/falaj/metadata-3 --node 3"},
    {"debug bundle", "/tmp/bundle --http gateway:7401,storage-1:7401,metadata-1:7401"},
    {"debug dump-batch", "captured.bin"},
    {"debug dump-batch", "captured.bin --records | jq .payload"},
    {"debug dump-log", "/var/lib/falaj/storage-1 --limit 20"},
    {"debug dump-log", "/var/lib/falaj/storage-1 --records"},
    {"debug verify", "/mnt/storage-1 /mnt/storage-2 /mnt/storage-3 --replicas 3"},
    {"debug verify", "/mnt/storage-1 --acknowledged acked.tsv"},
    {"debug recover-quorum", "/var/lib/falaj/metadata-3 --node 3"},
    {"debug recover-quorum", "/var/lib/falaj/metadata-3 --node 3 --yes-lose-data"},
    {"debug release-quarantine", "/var/lib/falaj/storage-1"},
    {"debug release-quarantine", "/var/lib/falaj/storage-1 --yes-lose-data"},
    {"dev", "--data /tmp/falaj"},
    {"dev", "--data /tmp/falaj --storage 3"},
    {"dev", "--data /tmp/falaj --port 0 --http-port 0"},
    {"bench", "produce --dev --durability os --batch-bytes 128KiB"},
    {"bench", "end-to-end --rate 1000 --seconds 30 --batch-bytes 1"},
    {"bench", "end-to-end --dev --input flights.tsv.zst --producers 4"},
    {"bench", "suite --dev --replicas 3"},
};

}  // namespace

std::string Examples(const std::vector<std::string>& lines) {
  std::string text = "Examples:";
  for (const std::string& line : lines) absl::StrAppend(&text, "\n  ", line);
  return text;
}

std::vector<std::string> ExamplesOf(absl::string_view command) {
  std::vector<std::string> lines;
  for (const auto& [name, example] : kExamples) {
    if (name != command) continue;
    lines.push_back(absl::StrCat("falaj ", name, example.empty() ? "" : " ", example));
  }
  return lines;
}

}  // namespace falaj::cli
