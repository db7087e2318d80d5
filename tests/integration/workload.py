"""Producers that remember what was acknowledged, and the check that nothing of it was lost, moved or doubled."""

import threading
import time

import grpc

from falaj.v1 import consumer_service_pb2, producer_service_pb2, record_pb2

BATCH_RECORDS = 20


class Producer(threading.Thread):
    """Appends small numbered batches to one partition until stopped.

    Never sends a value twice, so a value may be read at most once, whatever happened to its request. A request that
    failed leaves its values undecided: they may or may not be there.
    """

    def __init__(self, stub, topic, partition, name):
        super().__init__(daemon=True)
        self.stub = stub  # May be replaced while running.
        self.topic = topic
        self.partition = partition
        self.name = name
        self.acknowledged = {}  # value -> offset
        self.acknowledged_at = []  # When, by the monotonic clock: once for each batch.
        self.failures = 0
        self._stopping = threading.Event()

    def run(self):
        number = 0
        while not self._stopping.is_set():
            values = [f"{self.name}-{number + i}".encode() for i in range(BATCH_RECORDS)]
            number += BATCH_RECORDS
            request = producer_service_pb2.ProduceRequest(
                topic=self.topic, partition=self.partition, acks=record_pb2.ACKS_ALL,
                records=[record_pb2.Record(value=value) for value in values])
            try:
                answer = self.stub.Produce(request, timeout=5)
            except grpc.RpcError:
                self.failures += 1
                self._stopping.wait(0.05)  # Do not spin on a dead gateway.
                continue
            for value, position in zip(values, answer.positions):
                if position.offset >= 0:
                    self.acknowledged[value] = position.offset
            self.acknowledged_at.append(time.monotonic())

    def longest_pause(self, since):
        """Seconds: the longest time between two acknowledgements after `since`, and from there to the first."""
        times = [since] + [at for at in self.acknowledged_at if at > since]
        return max(later - earlier for earlier, later in zip(times, times[1:]))

    def stop(self):
        self._stopping.set()
        self.join(timeout=30)
        assert not self.is_alive(), f"{self.name} does not stop"


def read_all(stub, topic, partition):
    """All records of a partition as [(offset, value)], from the log start to the high watermark."""
    records = []
    offset = 0
    while True:
        request = consumer_service_pb2.FetchRequest(
            partitions=[consumer_service_pb2.FetchPartition(
                topic=topic, partition=partition, start=record_pb2.OffsetTarget(offset=offset))])
        part = stub.Fetch(request, timeout=20, wait_for_ready=True).partitions[0]
        if part.HasField("error") and part.error.retryable:
            continue
        assert not part.HasField("error"), part.error
        records += [(record.offset, record.value) for record in part.records]
        if part.next_offset >= part.high_watermark:
            return records
        assert part.next_offset > offset, "a fetch below the high watermark returned nothing"
        offset = part.next_offset


def check(testcase, records, producers, control_records=0):
    """Fails the test unless every acknowledged value is at its offset, none is there twice, and offsets are dense but
    for so many control records at most."""
    offsets = [offset for offset, _ in records]
    testcase.assertEqual(offsets, sorted(set(offsets)), "offsets do not rise")
    gaps = (offsets[-1] + 1 if offsets else 0) - len(offsets)
    testcase.assertLessEqual(gaps, control_records, "offsets are missing")
    values = [value for _, value in records]
    testcase.assertEqual(len(values), len(set(values)), "a record is there twice")
    at = dict(records)
    for producer in producers:
        lost = [(o, v) for v, o in producer.acknowledged.items() if at.get(o) != v]
        testcase.assertEqual(lost, [], f"{producer.name}: acknowledged records lost or moved")
