"""A client of Falaj made from the protos alone: stubs by protoc, nothing else of ours. Needs FALAJ_ADDRESS.

Reads as an example too: what a Python program does to create a topic, produce, fetch and consume.
"""

import concurrent.futures
import os
import queue
import time
import unittest

import grpc

from falaj.v1 import cluster_service_pb2, cluster_service_pb2_grpc
from falaj.v1 import consumer_service_pb2 as consuming
from falaj.v1 import consumer_service_pb2_grpc
from falaj.v1 import producer_service_pb2 as producing
from falaj.v1 import producer_service_pb2_grpc
from falaj.v1 import record_pb2 as data
from falaj.v1 import topic_service_pb2 as topics
from falaj.v1 import topic_service_pb2_grpc
from google.protobuf import timestamp_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 20
PARTITIONS = 3
BYTE_CREDIT = 1 << 20


def murmur2(key):
    """The hash of Kafka's default partitioner, written from its description and not from our code."""
    mask, mixer = 0xFFFFFFFF, 0x5BD1E995
    value = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for i in range(0, whole, 4):
        word = int.from_bytes(key[i:i + 4], "little") * mixer & mask
        word = (word ^ word >> 24) * mixer & mask
        value = (value * mixer & mask) ^ word
    if len(key) > whole:
        value = (value ^ int.from_bytes(key[whole:], "little")) * mixer & mask
    value = (value ^ value >> 13) * mixer & mask
    return value ^ value >> 15


def error_info(error):
    """The google.rpc.ErrorInfo every error of Falaj carries."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return info
    raise AssertionError(f"no ErrorInfo in {error}")


def plain(record):
    """A record as a tuple in which null and empty differ."""
    def optional(message, field):
        return getattr(message, field) if message.HasField(field) else None
    headers = [(header.key, optional(header, "value")) for header in record.headers]
    return optional(record, "key"), optional(record, "value"), headers


class Interop(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.channel = grpc.insecure_channel(os.environ["FALAJ_ADDRESS"])
        cls.topics = topic_service_pb2_grpc.TopicServiceStub(cls.channel)
        cls.producer = producer_service_pb2_grpc.ProducerServiceStub(cls.channel)
        cls.consumer = consumer_service_pb2_grpc.ConsumerServiceStub(cls.channel)
        cls.cluster = cluster_service_pb2_grpc.ClusterServiceStub(cls.channel)

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()

    def new_topic(self, name, **config):
        request = topics.CreateTopicRequest(
            name="python-" + name, partition_count=PARTITIONS, config=topics.TopicConfig(**config))
        topic = self.topics.CreateTopic(request, timeout=TIMEOUT_S).topic
        self.assertEqual(len(topic.partitions), PARTITIONS)
        return topic.name

    def produce(self, topic, records, partition=None):
        request = producing.ProduceRequest(
            topic=topic, partition=partition, acks=data.ACKS_ALL, records=records)
        return self.producer.Produce(request, timeout=TIMEOUT_S)

    def fetch(self, topic, partition, offset=0, wait_s=0):
        """What one partition answers; asks again after errors that say it may be: the leader may just be moving."""
        request = consuming.FetchRequest(partitions=[consuming.FetchPartition(
            topic=topic, partition=partition, start=data.OffsetTarget(offset=offset))])
        request.max_wait.FromSeconds(wait_s)
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            answer = self.consumer.Fetch(request, timeout=wait_s + TIMEOUT_S).partitions[0]
            if not answer.error.retryable or time.monotonic() > deadline:
                return answer

    def assert_refused(self, code, reason, call, *arguments):
        with self.assertRaises(grpc.RpcError) as caught:
            call(*arguments, timeout=TIMEOUT_S)
        self.assertEqual(caught.exception.code(), code)
        info = error_info(caught.exception)
        self.assertEqual((info.reason, info.domain), (reason, "falaj.dev"))
        return info

    def test_cluster_is_healthy(self):
        health = health_pb2_grpc.HealthStub(self.channel)
        for service in ("", "liveness", "readiness", "falaj.v1.ProducerService"):
            # Watch tells at once how things are, and again when they change: readiness may follow a moment later.
            answers = health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
            self.assertTrue(any(a.status == health_pb2.HealthCheckResponse.SERVING for a in answers), service)
            answers.cancel()
            check = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
            self.assertEqual(check.status, health_pb2.HealthCheckResponse.SERVING, service)
        nodes = self.cluster.ListNodes(cluster_service_pb2.ListNodesRequest(), timeout=TIMEOUT_S).nodes
        self.assertTrue(all(node.state == cluster_service_pb2.NODE_STATE_ONLINE for node in nodes))

    def test_created_topic_is_listed_and_found(self):
        name = self.new_topic("listed")
        self.assertEqual(self.topics.GetTopic(topics.GetTopicRequest(name=name), timeout=TIMEOUT_S).topic.name, name)
        listed, token = [], ""
        while True:
            page = self.topics.ListTopics(topics.ListTopicsRequest(page_size=1, page_token=token), timeout=TIMEOUT_S)
            listed += [topic.name for topic in page.topics]
            token = page.next_page_token
            if not token:
                break
        self.assertIn(name, listed)
        self.assertEqual(listed, sorted(set(listed)))

    def test_null_and_empty_stay_apart(self):
        topic = self.new_topic("optional")
        records = [
            data.Record(key=b"k", value=b"v", headers=[
                data.Header(key="h", value=b"1"), data.Header(key="h", value=b""), data.Header(key="null")]),
            data.Record(key=b"", value=b""),
            data.Record(value=b"no key"),
            data.Record(key=b"tombstone"),
            data.Record(),
            data.Record(key=bytes(range(256)), value="ف".encode() * 1000),
        ]
        answer = self.produce(topic, records, partition=1)
        self.assertEqual([(p.partition, p.offset) for p in answer.positions], [(1, i) for i in range(len(records))])
        fetched = self.fetch(topic, 1)
        self.assertEqual([plain(r) for r in fetched.records], [plain(r) for r in records])
        self.assertEqual([r.offset for r in fetched.records], list(range(len(records))))
        self.assertEqual((fetched.next_offset, fetched.high_watermark), (len(records), len(records)))

    def test_a_batch_above_the_default_receive_limit_comes_in_several_answers(self):
        topic = self.new_topic("large", batch_bytes_max=8 << 20)
        answer = self.produce(topic, [data.Record(value=b"%d" % i * 1_000_000) for i in range(7)], partition=0)
        self.assertEqual([append.record_count for append in answer.appends], [7], "one batch of 7 MB")
        values, answers = [], 0
        while len(values) < 7:
            fetched = self.fetch(topic, 0, offset=len(values))
            values += [record.value[:1] for record in fetched.records]
            self.assertEqual(fetched.next_offset, len(values))
            answers += 1
        self.assertEqual((b"".join(values), answers), (b"0123456", 3))

    def test_timestamps_are_kept_to_the_millisecond(self):
        topic = self.new_topic("timestamps")
        past = timestamp_pb2.Timestamp(seconds=1_000_000_000, nanos=123_000_000)
        self.produce(topic, [data.Record(value=b"a", timestamp=past), data.Record(value=b"b")], partition=0)
        first, second = self.fetch(topic, 0).records
        self.assertEqual(first.timestamp, past)
        self.assertGreater(second.timestamp.seconds, past.seconds)

    def test_key_decides_the_partition_as_in_kafka(self):
        topic = self.new_topic("keys")
        keys = [b"", b"a", b"ab", b"abc", b"abcd", b"\xff\xfe\xfd", "مفتاح".encode()]
        keys += [b"key-%d" % i for i in range(50)]
        answer = self.produce(topic, [data.Record(key=key, value=b"x") for key in keys])
        expected = [(murmur2(key) & 0x7FFFFFFF) % PARTITIONS for key in keys]
        self.assertEqual([p.partition for p in answer.positions], expected)
        self.assertEqual(sum(append.record_count for append in answer.appends), len(keys))

    def test_stream_produce_acknowledges_every_batch_in_order(self):
        topic = self.new_topic("stream")
        frames = [producing.StreamProduceRequest(
            open=producing.OpenProduceStream(topic=topic, acks=data.ACKS_ALL, client_id="python"))]
        for batch in range(20):
            frames.append(producing.StreamProduceRequest(records=producing.ProduceRecords(
                batch_id=batch, partition=batch % 2, records=[data.Record(value=b"%d" % batch)] * 5)))
        answers = list(self.producer.StreamProduce(iter(frames), timeout=TIMEOUT_S))
        self.assertEqual(answers[0].opened.partition_count, PARTITIONS)
        acks = [answer.ack for answer in answers[1:]]
        self.assertFalse([ack for ack in acks if ack.HasField("error")])
        self.assertEqual(sorted(ack.batch_id for ack in acks), list(range(20)))
        for partition in range(2):
            bases = [ack.appends[0].base_offset for ack in acks if ack.appends[0].partition == partition]
            self.assertEqual(bases, list(range(0, 50, 5)))

    def test_consume_stream_delivers_within_credit_and_seeks(self):
        topic = self.new_topic("consume")
        count = 300
        for partition in range(PARTITIONS):
            self.produce(topic, [data.Record(value=b"%d" % i) for i in range(count)], partition=partition)
        positions = [consuming.PartitionPosition(
            topic=topic, partition=partition, position=data.OffsetTarget(named=data.NAMED_OFFSET_EARLIEST))
            for partition in range(PARTITIONS)]
        frames = queue.SimpleQueue()
        frames.put(consuming.ConsumeRequest(open=consuming.OpenConsumeStream(
            partitions=consuming.PartitionSubscription(positions=positions),
            initial_credit=consuming.GrantCredit(bytes=BYTE_CREDIT))))
        stream = self.consumer.Consume(iter(frames.get, None), timeout=TIMEOUT_S)
        opened = next(stream).opened
        self.assertEqual([o.offset for o in opened.offsets], [0] * PARTITIONS)
        offsets = self.read(stream, frames, count * PARTITIONS)
        self.assertEqual(offsets, {partition: list(range(count)) for partition in range(PARTITIONS)})

        seek = consuming.PartitionPosition(topic=topic, partition=2, position=data.OffsetTarget(offset=count - 10))
        frames.put(consuming.ConsumeRequest(seek=consuming.SeekPartitions(positions=[seek])))
        self.assertEqual(self.read(stream, frames, 10), {2: list(range(count - 10, count))})
        frames.put(None)  # Half-close: the server ends the stream.
        for frame in stream:
            self.assertFalse(frame.HasField("records"))
        self.assertEqual(stream.code(), grpc.StatusCode.OK)

    def read(self, stream, frames, count):
        """Reads `count` records and gives their credit back; returns offsets by partition."""
        offsets = {}
        while sum(map(len, offsets.values())) < count:
            frame = next(stream)
            if frame.HasField("records"):
                self.assertFalse(frame.records.HasField("error"), frame.records.error)
                offsets.setdefault(frame.records.partition, []).extend(r.offset for r in frame.records.records)
                frames.put(consuming.ConsumeRequest(grant=consuming.GrantCredit(bytes=frame.records.size_bytes)))
        return offsets

    def test_positions_translate_to_offsets(self):
        topic = self.new_topic("offsets")
        times = [timestamp_pb2.Timestamp(seconds=s) for s in (1000, 2000, 3000)]
        self.produce(topic, [data.Record(value=b"x", timestamp=at) for at in times], partition=0)
        targets = [data.OffsetTarget(named=data.NAMED_OFFSET_EARLIEST),
                   data.OffsetTarget(named=data.NAMED_OFFSET_LATEST), data.OffsetTarget(time=times[1])]
        queries = [consuming.OffsetQuery(topic=topic, partition=0, target=target) for target in targets]
        answer = self.consumer.ListOffsets(consuming.ListOffsetsRequest(queries=queries), timeout=TIMEOUT_S)
        self.assertEqual([result.offset for result in answer.results], [0, 3, 1])

    def test_fetch_waits_for_records(self):
        topic = self.new_topic("wait")
        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(self.fetch, topic, 0, offset=0, wait_s=TIMEOUT_S)
            time.sleep(0.2)  # Whether the wait has begun by now or not, it must end with the append.
            self.produce(topic, [data.Record(value=b"late")], partition=0)
            answer = waiting.result()
        self.assertEqual([r.value for r in answer.records], [b"late"], answer)
        self.assertLess(time.monotonic() - start, TIMEOUT_S / 2)

    def test_errors_carry_a_reason(self):
        missing, invalid = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT
        info = self.assert_refused(missing, "TOPIC_NOT_FOUND", self.topics.GetTopic, topics.GetTopicRequest(name="no"))
        self.assertEqual(info.metadata["topic"], "no")
        self.assert_refused(invalid, "INVALID_NAME", self.topics.CreateTopic, topics.CreateTopicRequest(name="a/b"))
        self.assert_refused(invalid, "INVALID_REQUEST", self.topics.ListTopics, topics.ListTopicsRequest(page_size=-1))
        topic = self.new_topic("errors")
        self.assert_refused(
            grpc.StatusCode.ALREADY_EXISTS, "TOPIC_ALREADY_EXISTS", self.topics.CreateTopic,
            topics.CreateTopicRequest(name=topic, partition_count=PARTITIONS + 1))
        for request, code, reason in (
                (producing.ProduceRequest(topic=topic, records=[data.Record()]), invalid, "INVALID_REQUEST"),
                (producing.ProduceRequest(topic=topic, acks=data.ACKS_ALL), invalid, "INVALID_REQUEST"),
                (producing.ProduceRequest(topic=topic, acks=data.ACKS_ALL, partition=0, batch=b"x" * 80),
                 invalid, "INVALID_BATCH"),
                (producing.ProduceRequest(topic=topic, acks=data.ACKS_ALL, partition=PARTITIONS,
                                          records=[data.Record()]), missing, "PARTITION_NOT_FOUND")):
            self.assert_refused(code, reason, self.producer.Produce, request)

    def test_offset_out_of_range_names_the_range(self):
        topic = self.new_topic("range")
        self.produce(topic, [data.Record(value=b"x")] * 3, partition=0)
        error = self.fetch(topic, 0, offset=4).error
        self.assertEqual(error.reason, "OFFSET_OUT_OF_RANGE")
        self.assertEqual((error.metadata["log_start_offset"], error.metadata["high_watermark"]), ("0", "3"))

    def test_stream_must_begin_with_open(self):
        frame = consuming.ConsumeRequest(grant=consuming.GrantCredit(bytes=1))
        with self.assertRaises(grpc.RpcError) as caught:
            list(self.consumer.Consume(iter([frame]), timeout=TIMEOUT_S))
        self.assertEqual(error_info(caught.exception).reason, "INVALID_REQUEST")


if __name__ == "__main__":
    unittest.main()
