"""Consumers that stay attached to partitions and take note of everything they are told, errors above all."""

import queue
import threading

import grpc
from google.protobuf import duration_pb2

from falaj.v1 import consumer_service_pb2, record_pb2

CREDIT = 1 << 20


class Reader(threading.Thread):
    """Reads partitions of a topic from their beginning until stopped. Any thread may ask it what it has read."""

    def __init__(self, stub, topic, partitions, name):
        super().__init__(daemon=True, name=name)
        self.stub = stub
        self.topic = topic
        self.offsets = {partition: [] for partition in partitions}  # In the order in which they came.
        self.errors = []
        self._stopping = threading.Event()

    def run(self):
        try:
            self.read()
        except grpc.RpcError as error:
            if not self._stopping.is_set():
                self.errors.append(f"{error.code()}: {error.details()}")

    def read(self):
        raise NotImplementedError

    def take(self, part):
        """`part`: PartitionRecords. False if it brings an error."""
        if part.HasField("error"):
            self.errors.append(f"partition {part.partition}: {part.error.reason}: {part.error.message}")
            return False
        self.offsets[part.partition] += [record.offset for record in part.records]
        return True

    def count(self):
        return sum(len(offsets) for offsets in self.offsets.values())

    def stop(self):
        self._stopping.set()
        self.join(timeout=30)
        assert not self.is_alive(), f"{self.name} does not stop"


class StreamReader(Reader):
    """One Consume stream, for as long as it is there."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._frames = queue.SimpleQueue()
        self._call = None

    def read(self):
        positions = [consumer_service_pb2.PartitionPosition(topic=self.topic, partition=partition,
                                                            position=record_pb2.OffsetTarget(offset=0))
                     for partition in self.offsets]
        self._frames.put(consumer_service_pb2.ConsumeRequest(open=consumer_service_pb2.OpenConsumeStream(
            partitions=consumer_service_pb2.PartitionSubscription(positions=positions),
            initial_credit=consumer_service_pb2.GrantCredit(bytes=CREDIT))))
        self._call = self.stub.Consume(iter(self._frames.get, None), wait_for_ready=True)
        for frame in self._call:
            if not frame.HasField("records"):
                continue
            self.take(frame.records)
            grant = consumer_service_pb2.GrantCredit(bytes=frame.records.size_bytes)
            self._frames.put(consumer_service_pb2.ConsumeRequest(grant=grant))
        if not self._stopping.is_set():
            self.errors.append("the stream has ended")

    def stop(self):
        self._stopping.set()
        self._frames.put(None)
        self._call.cancel()
        super().stop()


class FetchReader(Reader):
    """One Fetch after the other, each of which waits for records."""

    def read(self):
        positions = {partition: 0 for partition in self.offsets}
        while not self._stopping.is_set():
            request = consumer_service_pb2.FetchRequest(
                max_wait=duration_pb2.Duration(nanos=200_000_000),
                partitions=[consumer_service_pb2.FetchPartition(topic=self.topic, partition=partition,
                                                                start=record_pb2.OffsetTarget(offset=offset))
                            for partition, offset in positions.items()])
            for part in self.stub.Fetch(request, timeout=20, wait_for_ready=True).partitions:
                if self.take(part):
                    positions[part.partition] = part.next_offset
