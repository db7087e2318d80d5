"""Clients of the log: producers that never send a value twice, and readers that never stand still."""

import json
import os
import re
import subprocess
import tempfile
import threading

import grpc
from google.protobuf import duration_pb2

from caller import CHANNEL_OPTIONS, now
from cluster import error_reason
from data_clients import Client
from falaj.v1 import consumer_service_pb2, consumer_service_pb2_grpc
from falaj.v1 import producer_service_pb2, producer_service_pb2_grpc, record_pb2

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
BACKOFF_S = 0.05
REREAD_MAX = 500  # Records a reader goes back at a time.


def definite_reasons():
    """The reasons that promise that nothing was appended, as the table of errors has them."""
    with open(os.path.join(ROOT, "libs/base/errors.def"), encoding="utf-8") as file:
        return set(re.findall(r"^FALAJ_REASON\(\w+, (\w+), \w+, true,", file.read(), re.MULTILINE))


DEFINITE = definite_reasons()


def outcome_of(reason):
    """The reason itself if it is definite; "unknown" if the records may be there, now or later."""
    return reason if reason in DEFINITE else "unknown"


class Acknowledged:
    """The file of acknowledged records that `falaj debug verify --acknowledged` reads. Any thread."""

    def __init__(self, path, topic_ids):
        self.path = path
        self.count = 0
        self._topic_ids = topic_ids
        self._mutex = threading.Lock()
        self._file = open(path, "w", encoding="utf-8")

    def add(self, topic, partition, offset, value):
        with self._mutex:
            self._file.write(f"{self._topic_ids[topic]}\t{partition}\t{offset}\t{value}\n")
            self.count += 1

    def close(self):
        with self._mutex:
            self._file.close()


class GatewayCaller:
    """One client's way to the gateways: it stays with one until that one does not answer. One thread at a time."""

    def __init__(self, addresses, at):
        self._addresses = addresses  # {name: address}
        self._names = sorted(addresses)
        self._at = at % len(addresses)
        self._channels = {}

    def node(self):
        return self._names[self._at]

    def address(self):
        return self._addresses[self.node()]

    def producer(self):
        return producer_service_pb2_grpc.ProducerServiceStub(self._channel())

    def consumer(self):
        return consumer_service_pb2_grpc.ConsumerServiceStub(self._channel())

    def move_on(self):
        self._at = (self._at + 1) % len(self._names)

    def close(self):
        for channel in self._channels.values():
            channel.close()

    def _channel(self):
        name = self.node()
        if name not in self._channels:
            self._channels[name] = grpc.insecure_channel(self._addresses[name], options=CHANNEL_OPTIONS)
        return self._channels[name]


class Producer(Client):
    """Appends by unary calls, with acks ALL. What fails is not sent again, so every value may be there once at most."""

    def __init__(self, name, caller, history, seed, acknowledged, partitions, pause_s=0.03, batch_max=10):
        super().__init__(name, caller, history, seed, pause_s)
        self._acknowledged = acknowledged
        self._partitions = partitions  # [(topic, partition)], one of which gets each batch.
        self._batch_max = batch_max
        self._number = 0

    def step(self):
        topic, partition = self.chance.choice(self._partitions)
        values = []
        for _ in range(self.chance.randint(1, self._batch_max)):
            self._number += 1
            values.append(f"{self.name}-{self._number}")
        request = producer_service_pb2.ProduceRequest(
            topic=topic, partition=partition, acks=record_pb2.ACKS_ALL,
            records=[record_pb2.Record(value=value.encode()) for value in values])
        self.produce(request, values, values)

    def produce(self, request, labels, values):
        """One attempt. `labels` is what the history calls the values; no two are alike."""
        invoked, node = now(), self.caller.node()
        partition = request.partition if request.HasField("partition") else None

        def note(partition, outcome, labels, offsets=None):
            self.history.add(f="produce", client=self.name, node=node, topic=request.topic, partition=partition,
                             invoked=invoked, returned=None if outcome == "unknown" else now(), outcome=outcome,
                             values=labels, offsets=offsets)

        try:
            answer = self.caller.producer().Produce(request, timeout=self.chance.choice([1, 3, 10]))
        except grpc.RpcError as error:
            note(partition, outcome_of(error_reason(error)[0]), labels)
            self.caller.move_on()
            self.stopping.wait(BACKOFF_S)
            return
        for append in answer.appends:
            mine = [i for i, position in enumerate(answer.positions) if position.partition == append.partition]
            if append.HasField("error"):
                note(append.partition, outcome_of(append.error.reason), [labels[i] for i in mine])
                continue
            offsets = [answer.positions[i].offset for i in mine]
            note(append.partition, "ok", [labels[i] for i in mine], offsets)
            for i, offset in zip(mine, offsets):
                self._acknowledged.add(request.topic, append.partition, offset, values[i])
        if any(append.HasField("error") for append in answer.appends):
            self.stopping.wait(BACKOFF_S)


class FlightProducer(Producer):
    """Appends flights, over and over, each with a number of its own; the airport is the key."""

    def __init__(self, name, caller, history, seed, acknowledged, topic, path, first, step):
        super().__init__(name, caller, history, seed, acknowledged, [], batch_max=40)
        self._topic = topic
        with open(path, encoding="utf-8") as file:
            self._flights = [line.rstrip("\n").split("\t", 1) for line in file]
        self._number, self._step = first, step  # Producers share the numbers out among themselves.

    def step(self):
        numbers = [self._number + i * self._step for i in range(self.chance.randint(1, self._batch_max))]
        self._number = numbers[-1] + self._step
        flights = [self._flights[number % len(self._flights)] for number in numbers]
        values = [f'{flight[:-1]},"number":{number}}}' for number, (_, flight) in zip(numbers, flights)]
        records = [record_pb2.Record(key=key.encode(), value=value.encode())
                   for (key, _), value in zip(flights, values)]
        self.produce(producer_service_pb2.ProduceRequest(topic=self._topic, acks=record_pb2.ACKS_ALL, records=records),
                     [label_of(value) for value in values], values)


def label_of(value):
    """What the history calls a value: flights by their number, others as they are."""
    return str(json.loads(value)["number"]) if value.startswith("{") else value


class CommandProducer(Client):
    """Appends by `falaj produce`: the C++ client, which numbers its batches and sends them again until they are
    answered. It says whether all is there, not where."""

    TIMEOUT_S = 20
    BATCH = 200

    def __init__(self, name, caller, history, seed, binary, partitions):
        super().__init__(name, caller, history, seed, pause_s=0.2)
        self._binary = binary
        self._partitions = partitions
        self._number = 0

    def step(self):
        topic, partition = self.chance.choice(self._partitions)
        values = [f"{self.name}-{self._number + i}" for i in range(self.BATCH)]
        self._number += self.BATCH
        invoked, node = now(), self.caller.node()
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.writelines(value + "\n" for value in values)
            file.flush()
            done = subprocess.run([self._binary, "produce", topic, "-p", str(partition), "--file", file.name, "-q",
                                   "--rate", "200", "--batch-bytes", "1KiB", "--address", self.caller.address(),
                                   "--timeout", f"{self.TIMEOUT_S}s"], capture_output=True, text=True, check=False)
        outcome = "ok" if done.returncode == 0 else "unknown"
        self.history.add(f="command", client=self.name, node=node, topic=topic, partition=partition, invoked=invoked,
                         returned=now() if outcome == "ok" else None, outcome=outcome, values=values, offsets=None,
                         said=done.stderr.strip())
        self.caller.move_on()


class Reader(Client):
    """Reads all partitions from the beginning to the end, and on as they grow. With `again`, it goes back every time it
    has come to the end: what was read once must be read again."""

    def __init__(self, name, caller, history, seed, partitions, again=False):
        super().__init__(name, caller, history, seed, pause_s=0.3 if again else 0.05)
        self._positions = {partition: 0 for partition in partitions}
        self._again = again

    def step(self):
        request = consumer_service_pb2.FetchRequest(
            max_wait=duration_pb2.Duration(nanos=300_000_000),
            partitions=[consumer_service_pb2.FetchPartition(topic=topic, partition=partition,
                                                            start=record_pb2.OffsetTarget(offset=position))
                        for (topic, partition), position in self._positions.items()])
        invoked = now()
        try:
            answer = self.caller.consumer().Fetch(request, timeout=5)
        except grpc.RpcError:
            self.caller.move_on()  # A read that fails has no effect; the next one says whether all is well.
            self.stopping.wait(BACKOFF_S)
            return
        for part in answer.partitions:
            self._take(part, invoked)

    def _take(self, part, invoked):
        at = (part.topic, part.partition)
        begin = self._positions[at]
        fields = {"topic": part.topic, "partition": part.partition, "from": begin}
        outcome = part.error.reason if part.HasField("error") else "ok"
        if outcome == "ok":
            if part.next_offset == begin and not self._again:
                return
            records = [(record.offset, label_of(record.value.decode())) for record in part.records]
            fields.update(next=part.next_offset, high_watermark=part.high_watermark, records=records)
            self._positions[at] = part.next_offset
            if self._again and part.next_offset >= part.high_watermark:
                self._positions[at] = self.chance.randint(max(0, part.next_offset - REREAD_MAX), part.next_offset)
        self.history.add(f="read", client=self.name, node=self.caller.node(), invoked=invoked, returned=now(),
                         outcome=outcome, **fields)


def read_all(stub, topic, partition):
    """[(offset, label)] of a partition that is well, up to its high watermark."""
    records, offset = [], 0
    while True:
        request = consumer_service_pb2.FetchRequest(partitions=[consumer_service_pb2.FetchPartition(
            topic=topic, partition=partition, start=record_pb2.OffsetTarget(offset=offset))])
        part = stub.Fetch(request, timeout=20, wait_for_ready=True).partitions[0]
        assert not part.HasField("error"), f"{topic}/{partition} at {offset}: {part.error}"
        records += [(record.offset, label_of(record.value.decode())) for record in part.records]
        if part.next_offset >= part.high_watermark:
            return records
        assert part.next_offset > offset, f"{topic}/{partition}: a fetch below the high watermark returned nothing"
        offset = part.next_offset
