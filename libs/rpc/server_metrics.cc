#include "libs/rpc/server_metrics.h"

#include <google/protobuf/descriptor.h>

#include "absl/strings/str_cat.h"

namespace falaj::rpc {

void ServerMetrics::AddService(const std::string& service) {
  const google::protobuf::ServiceDescriptor* const descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service);
  if (descriptor == nullptr) return;
  for (int i = 0; i < descriptor->method_count(); ++i) {
    const google::protobuf::MethodDescriptor& method = *descriptor->method(i);
    methods_[absl::StrCat("/", service, "/", method.name())] =
        std::make_unique<Method>(registry_, Method::Side::kServer, method);
  }
}

ServerMetrics::Method* ServerMetrics::Find(absl::string_view path) const {
  const auto it = methods_.find(path);
  return it == methods_.end() ? nullptr : it->second.get();
}

}  // namespace falaj::rpc
