#include "services/storage/lead_giver.h"

#include <vector>

#include "libs/base/log.h"

namespace falaj::storage {
namespace {

constexpr absl::Duration kElectPatience = absl::Seconds(2);

}  // namespace

LeadGiver::LeadGiver(absl::Duration interval, const log::DiskWatch* disk,
                     const Assignments* assignments, rpc::MetadataChannel* channel)
    : disk_(disk),
      assignments_(assignments),
      channel_(channel),
      work_(interval, [this] { Work(); }) {}

void LeadGiver::Work() {
  if (disk_->level() < log::DiskLevel::kHard) return led_.reset();
  const std::vector<Assignments::Lead> leads = assignments_->Leads();
  if (!led_.has_value()) {
    led_.emplace();
    for (const Assignments::Lead& lead : leads) (*led_)[{lead.topic, lead.partition}] = lead.epoch;
  }
  // One command for each topic and successor.
  std::map<std::pair<std::string, NodeId>, internal::v1::ClusterCommand> wishes;
  for (const Assignments::Lead& lead : leads) {
    const auto led = led_->find({lead.topic, lead.partition});
    if (led == led_->end() || led->second != lead.epoch || lead.successor == NodeId{0}) continue;
    internal::v1::ElectLeadersCommand& wish =
        *wishes[{lead.topic, lead.successor}].mutable_elect_leaders();
    wish.set_topic(lead.topic);
    wish.set_node_id(lead.successor.value());
    wish.add_partitions(lead.partition.value());
  }
  for (const auto& [to, wish] : wishes) {
    log::Warning("no room: another node shall lead",
                 {{"topic", to.first},
                  {"partitions", static_cast<int64_t>(wish.elect_leaders().partitions_size())},
                  {"to", to.second}});
    const absl::Status asked = channel_->Execute(wish, kElectPatience).status();
    if (!asked.ok()) log::Warning("the lead is not given away yet", {{"error", asked}});
  }
}

}  // namespace falaj::storage
