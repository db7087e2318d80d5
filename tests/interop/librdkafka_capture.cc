#include "tests/interop/librdkafka_capture.h"

#include <arpa/inet.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iterator>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"

#include "libs/base/mutex.h"
#include "libs/base/random.h"
#include "libs/record/big_endian.h"

namespace falaj::interop {
namespace {

using record::LoadBigEndian;

constexpr char kTopic[] = "golden";
constexpr int kTimeoutMs = 10'000;

// Relay accepts connections on a port of its own, passes bytes on to `target` and back, and keeps
// what clients sent, per connection. One thread; stopped by the destructor.
class Relay {
 public:
  Relay() {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof(address);
    bind(listener_, reinterpret_cast<sockaddr*>(&address), size);
    listen(listener_, 16);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    if (pipe(stop_) != 0) stop_[0] = stop_[1] = -1;
    thread_ = std::thread([this] { Run(); });
  }
  ~Relay() {
    Stop();
    close(listener_);
    close(stop_[0]);
    close(stop_[1]);
  }
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  static sockaddr_in Loopback(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    return address;
  }

  uint16_t port() const { return port_; }
  void SetTarget(const sockaddr_in& target) ABSL_LOCKS_EXCLUDED(mu_) {
    const MutexLock lock(&mu_);
    target_ = target;
  }
  // Ends the thread; what clients sent may be read afterwards.
  void Stop() {
    if (!thread_.joinable()) return;
    const char byte = 0;
    if (write(stop_[1], &byte, 1) == 1) thread_.join();
  }
  std::vector<std::string> sent() const {
    std::vector<std::string> all;
    for (const auto& link : links_) all.push_back(link->sent);
    return all;
  }

 private:
  struct Link {
    int client = -1;
    int server = -1;
    std::string sent;
  };

  void Accept() ABSL_LOCKS_EXCLUDED(mu_) {
    auto link = std::make_unique<Link>();
    link->client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    link->server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in target;
    {
      const MutexLock lock(&mu_);
      target = target_;
    }
    connect(link->server, reinterpret_cast<const sockaddr*>(&target), sizeof(target));
    links_.push_back(std::move(link));
  }

  static void Close(Link* link) {
    close(link->client);
    close(link->server);
    link->client = link->server = -1;
  }

  static void Pass(Link* link, bool from_client) {
    char buffer[65536];
    const ssize_t got = read(from_client ? link->client : link->server, buffer, sizeof(buffer));
    if (got <= 0) return Close(link);
    if (from_client) link->sent.append(buffer, static_cast<size_t>(got));
    const int to = from_client ? link->server : link->client;
    for (ssize_t done = 0; done < got;) {
      const ssize_t wrote = send(to, buffer + done, static_cast<size_t>(got - done), MSG_NOSIGNAL);
      if (wrote <= 0) return Close(link);
      done += wrote;
    }
  }

  void Run() {
    while (true) {
      std::vector<pollfd> polled = {{stop_[0], POLLIN, 0}, {listener_, POLLIN, 0}};
      std::vector<std::pair<Link*, bool>> ends;
      for (const auto& link : links_) {
        if (link->client < 0) continue;
        polled.push_back({link->client, POLLIN, 0});
        ends.emplace_back(link.get(), true);
        polled.push_back({link->server, POLLIN, 0});
        ends.emplace_back(link.get(), false);
      }
      if (poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) return;
      if (polled[0].revents != 0) break;
      for (size_t i = 0; i < ends.size(); ++i) {
        const auto [link, from_client] = ends[i];
        if (polled[i + 2].revents != 0 && link->client >= 0) Pass(link, from_client);
      }
      if (polled[1].revents != 0) Accept();
    }
    for (const auto& link : links_) {
      if (link->client >= 0) Close(link.get());
    }
  }

  int listener_ = -1;
  uint16_t port_ = 0;
  int stop_[2] = {-1, -1};
  std::vector<std::unique_ptr<Link>> links_;  // The thread's until it has ended.
  Mutex mu_;
  sockaddr_in target_ ABSL_GUARDED_BY(mu_) = {};
  std::thread thread_;
};

// librdkafka's hook for connecting a socket: to the relay, wherever it was meant to go. There is
// one broker, so the relay needs no more than its address.
int ConnectToRelay(int socket_fd, const sockaddr* address, int /*size*/, const char* /*name*/,
                   void* opaque) {
  auto* relay = static_cast<Relay*>(opaque);
  sockaddr_in target;
  std::memcpy(&target, address, sizeof(target));
  relay->SetTarget(target);
  const sockaddr_in here = Relay::Loopback(relay->port());
  const int result = connect(socket_fd, reinterpret_cast<const sockaddr*>(&here), sizeof(here));
  return result == 0 || errno == EINPROGRESS ? 0 : errno;
}

// Cursor over one request of Kafka's protocol; ok() turns false at the first read past the end.
class RequestCursor {
 public:
  explicit RequestCursor(absl::string_view data) : data_(data) {}

  template <typename T>
  T Int() {
    if (data_.size() < sizeof(T)) ok_ = false;
    if (!ok_) return T{};
    const T value = LoadBigEndian<T>(data_.data());
    data_.remove_prefix(sizeof(T));
    return value;
  }
  absl::string_view Take(int64_t size) {
    if (size < 0) return absl::string_view();  // A null string or null records.
    if (static_cast<size_t>(size) > data_.size()) ok_ = false;
    if (!ok_) return absl::string_view();
    const absl::string_view taken = data_.substr(0, static_cast<size_t>(size));
    data_.remove_prefix(taken.size());
    return taken;
  }
  absl::string_view String() { return Take(Int<int16_t>()); }
  bool ok() const { return ok_; }
  bool empty() const { return data_.empty(); }

 private:
  absl::string_view data_;
  bool ok_ = true;
};

// Appends the batches of one request (without its size) if it is a Produce request of version 3
// to 8.
void AppendProduced(absl::string_view request, std::string* batches) {
  constexpr int16_t kProduce = 0;
  RequestCursor in(request);
  const auto api = in.Int<int16_t>();
  in.Int<int16_t>();  // Version.
  in.Int<int32_t>();  // Correlation id.
  in.String();        // Client id.
  if (api != kProduce) return;
  in.String();        // Transactional id.
  in.Int<int16_t>();  // Acks.
  in.Int<int32_t>();  // Timeout.
  for (auto topics = in.Int<int32_t>(); topics > 0 && in.ok(); --topics) {
    in.String();
    for (auto partitions = in.Int<int32_t>(); partitions > 0 && in.ok(); --partitions) {
      in.Int<int32_t>();
      const absl::string_view records = in.Take(in.Int<int32_t>());
      batches->append(records.data(), records.size());
    }
  }
}

struct DestroyKafka {
  void operator()(rd_kafka_t* kafka) const { rd_kafka_destroy(kafka); }
  void operator()(rd_kafka_conf_t* conf) const { rd_kafka_conf_destroy(conf); }
  void operator()(rd_kafka_topic_t* topic) const { rd_kafka_topic_destroy(topic); }
};
using Producer = std::unique_ptr<rd_kafka_t, DestroyKafka>;
using Topic = std::unique_ptr<rd_kafka_topic_t, DestroyKafka>;

absl::StatusOr<Producer> MakeProducer(const CaptureOptions& options, Relay* relay) {
  std::unique_ptr<rd_kafka_conf_t, DestroyKafka> conf(rd_kafka_conf_new());
  const std::pair<const char*, std::string> settings[] = {
      {"test.mock.num.brokers", "1"},
      {"broker.address.family", "v4"},
      {"compression.codec", options.codec},
      {"enable.idempotence", options.idempotent ? "true" : "false"},
      {"linger.ms", "500"},  // So that all records go into one batch.
      {"log_level", "3"},
  };
  char why[256];
  for (const auto& [name, value] : settings) {
    if (rd_kafka_conf_set(conf.get(), name, value.c_str(), why, sizeof(why)) != RD_KAFKA_CONF_OK) {
      return absl::InternalError(absl::StrCat(name, ": ", why));
    }
  }
  rd_kafka_conf_set_opaque(conf.get(), relay);
  rd_kafka_conf_set_connect_cb(conf.get(), ConnectToRelay);
  Producer producer(rd_kafka_new(RD_KAFKA_PRODUCER, conf.get(), why, sizeof(why)));
  if (producer == nullptr) return absl::InternalError(why);
  conf.release();  // The producer owns it now.
  return producer;
}

// Once the partition is known, records go straight to its queue. Before, they wait elsewhere and
// are moved one by one while the sender already takes some: one flush, two batches.
absl::StatusOr<Topic> LearnPartitions(rd_kafka_t* producer) {
  Topic topic(rd_kafka_topic_new(producer, kTopic, nullptr));
  const rd_kafka_metadata_t* metadata = nullptr;
  const rd_kafka_resp_err_t error =
      rd_kafka_metadata(producer, /*all_topics=*/0, topic.get(), &metadata, kTimeoutMs);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return absl::InternalError(rd_kafka_err2str(error));
  rd_kafka_metadata_destroy(metadata);
  return topic;
}

absl::Status Send(rd_kafka_t* producer, const record::Record& record) {
  rd_kafka_headers_t* headers = rd_kafka_headers_new(record.headers.size());
  for (const record::Header& header : record.headers) {
    const void* value = header.value.has_value() ? header.value->c_str() : nullptr;
    const size_t size = header.value.has_value() ? header.value->size() : 0;
    rd_kafka_header_add(headers, header.key.c_str(), static_cast<ssize_t>(header.key.size()), value,
                        static_cast<ssize_t>(size));
  }
  const auto memory = [](const std::optional<std::string>& field) {
    decltype(rd_kafka_vu_t::u.mem) view = {nullptr, 0};
    if (field.has_value()) view = {const_cast<char*>(field->c_str()), field->size()};
    return view;
  };
  // Not the macros of rd_kafka_producev(): they are a GNU extension.
  rd_kafka_vu_t fields[] = {
      {.vtype = RD_KAFKA_VTYPE_TOPIC, .u = {.cstr = kTopic}},
      {.vtype = RD_KAFKA_VTYPE_PARTITION, .u = {.i32 = 0}},
      {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u = {.i = RD_KAFKA_MSG_F_COPY}},
      {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u = {.i64 = record.timestamp_ms}},
      {.vtype = RD_KAFKA_VTYPE_KEY, .u = {.mem = memory(record.key)}},
      {.vtype = RD_KAFKA_VTYPE_VALUE, .u = {.mem = memory(record.value)}},
      {.vtype = RD_KAFKA_VTYPE_HEADERS, .u = {.headers = headers}},
  };
  rd_kafka_error_t* error = rd_kafka_produceva(producer, fields, std::size(fields));
  if (error == nullptr) return absl::OkStatus();
  absl::Status status = absl::InternalError(rd_kafka_error_string(error));
  rd_kafka_error_destroy(error);
  rd_kafka_headers_destroy(headers);
  return status;
}

}  // namespace

std::vector<record::Record> GoldenRecords() {
  constexpr int64_t kStartMs = 1'700'000'000'000;
  std::vector<record::Record> records = {
      {.key = "JFK", .value = "first", .headers = {}, .timestamp_ms = kStartMs},
      {.key = std::nullopt, .value = "no key", .headers = {}, .timestamp_ms = kStartMs + 1},
      {.key = "", .value = "", .headers = {}, .timestamp_ms = kStartMs + 1},
      {.key = "gone", .value = std::nullopt, .headers = {}, .timestamp_ms = kStartMs + 70'000},
      {.key = std::nullopt, .value = std::nullopt, .headers = {}, .timestamp_ms = kStartMs + 3},
      {.key = "headers",
       .value = "five",
       .headers = {{"a", "1"}, {"empty", ""}, {"null", std::nullopt}, {"a", "2"}, {"فلج", "\xff"}},
       .timestamp_ms = kStartMs + 4},
      {.key = std::string("\0\xff", 2),
       .value = std::string(3000, 'x'),
       .headers = {},
       .timestamp_ms = kStartMs - 1000},
  };
  Random random(3);
  for (int i = 0; i < 30; ++i) {
    record::Record& record = records.emplace_back();
    record.key = absl::StrCat("key-", i);
    record.value = "";
    for (int byte = 0; byte < 100; ++byte) {
      record.value->push_back(static_cast<char>(random.Below(256)));
    }
    record.timestamp_ms = kStartMs + 10 + i;
  }
  return records;
}

absl::StatusOr<std::string> CaptureBatches(const CaptureOptions& options) {
  Relay relay;
  {
    auto producer = MakeProducer(options, &relay);
    if (!producer.ok()) return producer.status();
    const auto topic = LearnPartitions(producer->get());
    if (!topic.ok()) return topic.status();
    for (const record::Record& record : GoldenRecords()) {
      if (auto sent = Send(producer->get(), record); !sent.ok()) return sent;
    }
    if (rd_kafka_flush(producer->get(), kTimeoutMs) != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return absl::InternalError("librdkafka did not deliver");
    }
  }
  relay.Stop();
  std::string batches;
  for (const std::string& sent : relay.sent()) {
    RequestCursor in(sent);
    while (in.ok() && !in.empty()) {
      const absl::string_view request = in.Take(in.Int<int32_t>());
      if (in.ok()) AppendProduced(request, &batches);
    }
  }
  return batches;
}

}  // namespace falaj::interop
