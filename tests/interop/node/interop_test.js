// A client of Falaj made from the protos alone, for Node: grpc-js and proto-loader, nothing of ours. Needs
// FALAJ_ADDRESS and FALAJ_PROTOS (the folder proto/). Reads as an example too.
'use strict';

const assert = require('node:assert');
const path = require('node:path');
const { after, test } = require('node:test');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const protobuf = require('protobufjs');

const PARTITIONS = 3;
const protos = process.env.FALAJ_PROTOS;

const services = ['topic', 'producer', 'consumer', 'cluster'].map((name) => `falaj/v1/${name}_service.proto`);
const { falaj } = grpc.loadPackageDefinition(
  loader.loadSync(services, { includeDirs: [protos], keepCase: true, longs: Number, enums: String, defaults: true }));
const address = process.env.FALAJ_ADDRESS;
const plaintext = grpc.credentials.createInsecure();
const topics = new falaj.v1.TopicService(address, plaintext);
const producer = new falaj.v1.ProducerService(address, plaintext);
const consumer = new falaj.v1.ConsumerService(address, plaintext);
const cluster = new falaj.v1.ClusterService(address, plaintext);
after(() => [topics, producer, consumer, cluster].forEach((client) => client.close()));

const root = new protobuf.Root();
root.resolvePath = (_, target) => (target.startsWith('google/rpc/') ? path.join(protos, target) : target);
root.loadSync(['google/rpc/status.proto', 'google/rpc/error_details.proto']);
const Status = root.lookupType('google.rpc.Status');
const ErrorInfo = root.lookupType('google.rpc.ErrorInfo');

const deadline = () => ({ deadline: Date.now() + 20000 });

function call(client, method, request) {
  return new Promise((resolve, reject) => {
    client[method](request, deadline(), (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

// Sends the frames one after another, half-closes, and resolves to all answers once the server has said OK.
function converse(stream, frames) {
  return new Promise((resolve, reject) => {
    const answers = [];
    stream.on('data', (answer) => answers.push(answer));
    stream.on('error', reject);
    stream.on('end', () => resolve(answers));
    frames.forEach((frame) => stream.write(frame));
    stream.end();
  });
}

// The google.rpc.ErrorInfo every error of Falaj carries.
function errorInfo(error) {
  const [details] = error.metadata.get('grpc-status-details-bin');
  assert.ok(details, `no details in: ${error.message}`);
  const info = Status.decode(details).details.find((any) => any.type_url.endsWith('google.rpc.ErrorInfo'));
  return ErrorInfo.decode(info.value);
}

async function refused(promise, code, reason) {
  const error = await promise.then(() => assert.fail(`${reason} expected`), (e) => e);
  assert.strictEqual(error.code, code, error.message);
  const info = errorInfo(error);
  assert.deepStrictEqual([info.reason, info.domain], [reason, 'falaj.dev']);
  return info;
}

async function newTopic(name) {
  const { topic } = await call(topics, 'CreateTopic', { name: `node-${name}`, partition_count: PARTITIONS });
  assert.strictEqual(topic.partitions.length, PARTITIONS);
  return topic.name;
}

function produce(topic, partition, records) {
  return call(producer, 'Produce', { topic, partition, acks: 'ACKS_ALL', records });
}

// What one partition answers; asks again after errors that say it may be: the leader may just be moving.
async function fetch(topic, partition, offset) {
  const end = Date.now() + 20000;
  for (;;) {
    const answer = await call(consumer, 'Fetch', { partitions: [{ topic, partition, start: { offset } }] });
    const [part] = answer.partitions;
    if (!part.error || !part.error.retryable || Date.now() > end) return part;
  }
}

// A record with null for what is not set, and text for bytes.
function plain(record) {
  const text = (bytes) => (bytes === undefined || bytes === null ? null : bytes.toString());
  return [text(record.key), text(record.value), (record.headers || []).map((h) => [h.key, text(h.value)])];
}

test('a created topic is found, and the cluster knows its nodes', async () => {
  const name = await newTopic('found');
  assert.strictEqual((await call(topics, 'GetTopic', { name })).topic.name, name);
  const view = await call(cluster, 'GetCluster', {});
  assert.ok(view.nodes.length > 0);
  assert.ok(view.partition_count >= PARTITIONS);
});

test('null and empty stay apart', async () => {
  const topic = await newTopic('optional');
  const records = [
    { key: Buffer.from('k'), value: Buffer.from('v'),
      headers: [{ key: 'h', value: Buffer.from('1') }, { key: 'h', value: Buffer.alloc(0) }, { key: 'null' }] },
    { key: Buffer.alloc(0), value: Buffer.alloc(0) },
    { value: Buffer.from('no key') },
    { key: Buffer.from('tombstone') },
    {},
    { key: Buffer.from('ف'), value: Buffer.from('x'.repeat(5000)) },
  ];
  const answer = await produce(topic, 1, records);
  assert.deepStrictEqual(answer.positions.map((p) => [p.partition, p.offset]), records.map((_, i) => [1, i]));
  const fetched = await fetch(topic, 1, 0);
  assert.deepStrictEqual(fetched.records.map(plain), records.map(plain));
  assert.deepStrictEqual(fetched.records.map((r) => r.offset), records.map((_, i) => i));
  assert.strictEqual(fetched.high_watermark, records.length);
});

test('one key goes to one partition', async () => {
  const topic = await newTopic('keys');
  const records = Array.from({ length: 60 }, (_, i) => ({ key: Buffer.from(`key-${i % 7}`), value: Buffer.from('x') }));
  const { positions } = await call(producer, 'Produce', { topic, acks: 'ACKS_ALL', records });
  positions.forEach((p, i) => assert.strictEqual(p.partition, positions[i % 7].partition));
});

test('a produce stream acknowledges every batch in order', async () => {
  const topic = await newTopic('stream');
  const frames = [{ open: { topic, acks: 'ACKS_ALL', client_id: 'node' } }];
  for (let batch = 0; batch < 20; batch++) {
    const records = Array.from({ length: 5 }, () => ({ value: Buffer.from(`${batch}`) }));
    frames.push({ records: { batch_id: batch, partition: batch % 2, records } });
  }
  const [opened, ...acks] = await converse(producer.StreamProduce(deadline()), frames);
  assert.strictEqual(opened.opened.partition_count, PARTITIONS);
  assert.strictEqual(acks.length, 20);
  for (const { ack } of acks) {
    assert.strictEqual(ack.error, null);
    assert.strictEqual(ack.appends[0].partition, ack.batch_id % 2);
    assert.strictEqual(ack.appends[0].base_offset, Math.floor(ack.batch_id / 2) * 5);
  }
});

test('a consume stream delivers everything, in order', async () => {
  const topic = await newTopic('consume');
  const count = 300;
  const records = Array.from({ length: count }, (_, i) => ({ value: Buffer.from(`${i}`) }));
  for (let partition = 0; partition < PARTITIONS; partition++) await produce(topic, partition, records);

  const positions = [0, 1, 2].map((partition) => ({ topic, partition, position: { named: 'NAMED_OFFSET_EARLIEST' } }));
  const offsets = positions.map(() => []);
  const stream = consumer.Consume(deadline());
  await new Promise((resolve, reject) => {
    stream.on('error', reject);
    stream.on('end', resolve);
    stream.on('data', (frame) => {
      if (!frame.records) return;
      offsets[frame.records.partition].push(...frame.records.records.map((record) => record.offset));
      stream.write({ grant: { bytes: frame.records.size_bytes } });
      if (offsets.every((seen) => seen.length >= count)) stream.end();
    });
    stream.write({ open: { partitions: { positions }, initial_credit: { bytes: 4096 } } });
  });
  offsets.forEach((seen) => assert.deepStrictEqual(seen, records.map((_, i) => i)));
});

test('positions translate to offsets', async () => {
  const topic = await newTopic('offsets');
  await produce(topic, 0, [1000, 2000, 3000].map((seconds) => ({ value: Buffer.from('x'), timestamp: { seconds } })));
  const targets = [{ named: 'NAMED_OFFSET_EARLIEST' }, { named: 'NAMED_OFFSET_LATEST' }, { time: { seconds: 2000 } }];
  const queries = targets.map((target) => ({ topic, partition: 0, target }));
  const { results } = await call(consumer, 'ListOffsets', { queries });
  assert.deepStrictEqual(results.map((result) => result.offset), [0, 3, 1]);
});

test('errors carry a reason', async () => {
  const { INVALID_ARGUMENT, NOT_FOUND } = grpc.status;
  const info = await refused(call(topics, 'GetTopic', { name: 'no' }), NOT_FOUND, 'TOPIC_NOT_FOUND');
  assert.strictEqual(info.metadata.topic, 'no');
  await refused(call(topics, 'CreateTopic', { name: 'a/b' }), INVALID_ARGUMENT, 'INVALID_NAME');
  await refused(call(topics, 'ListTopics', { page_size: -1 }), INVALID_ARGUMENT, 'INVALID_REQUEST');
  const topic = await newTopic('errors');
  const records = [{ value: Buffer.from('x') }];
  await refused(call(producer, 'Produce', { topic, records }), INVALID_ARGUMENT, 'INVALID_REQUEST');
  await refused(produce(topic, PARTITIONS, records), NOT_FOUND, 'PARTITION_NOT_FOUND');
  const { error } = await fetch(topic, 0, 1);
  assert.strictEqual(error.reason, 'OFFSET_OUT_OF_RANGE');
  assert.strictEqual(error.metadata.high_watermark, '0');
});

test('a stream must begin with open', async () => {
  const frames = [{ records: { batch_id: 1, records: [{}] } }];
  await refused(converse(producer.StreamProduce(deadline()), frames), grpc.status.INVALID_ARGUMENT, 'INVALID_REQUEST');
});
