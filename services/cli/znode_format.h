// What `falaj znode` prints: znodes and their stat as tables, changes as lines.
#ifndef SERVICES_CLI_ZNODE_FORMAT_H_
#define SERVICES_CLI_ZNODE_FORMAT_H_

#include <string>

#include "falaj/v1/coordination_service.pb.h"

#include "services/cli/output.h"

namespace falaj::cli {

// Data as it may stand in a table: shortened, control bytes escaped.
std::string ShowData(const std::string& data);

// A table of znodes with their stat, without rows.
Table ZnodeTable();
void AddZnode(const std::string& path, const v1::ZnodeStat& stat, Table* table);

// A line per change of one message: index, what happened, path, version, data. Mode is kTsv or
// kJson.
std::string RenderEvents(const v1::WatchZnodesResponse& message, OutputMode mode);

// "/" + "a" is "/a", "/a" + "b" is "/a/b".
std::string JoinPath(const std::string& parent, const std::string& name);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_ZNODE_FORMAT_H_
