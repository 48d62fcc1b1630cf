// The AWS SDK for JavaScript with dummy keys and keybearer as its endpoint. Its argument is JSON:
// `url`, `region` and `bucket`, which exists.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import {
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';

const { url, region, bucket: Bucket } = JSON.parse(process.argv[2]);
const credentials = { accessKeyId: 'AKIADUMMY', secretAccessKey: 'dummy' };
const s3 = new S3Client({ endpoint: url, region, credentials, forcePathStyle: true, maxAttempts: 1 });
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const get = async (Key, options = {}) => {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key, ...options }));
  return Buffer.from(await Body.transformToByteArray());
};

const keys = ['plain', 'a b+c%d', 'ä/日本', "it's (odd)!*", 'x=1&y:2~'];
for (const Key of keys) {
  await s3.send(new PutObjectCommand({ Bucket, Key, Body: `content of ${Key}`, Metadata: { kept: 'yes' } }));
  assert.equal((await get(Key)).toString(), `content of ${Key}`);
  const head = await s3.send(new HeadObjectCommand({ Bucket, Key }));
  assert.equal(head.Metadata.kept, 'yes');
}
const { Contents } = await s3.send(new ListObjectsV2Command({ Bucket }));
assert.deepEqual(Contents.map(({ Key }) => Key).sort(), [...keys].sort());

// A stream cannot be hashed before it is sent: it goes in chunks, its checksum in a trailer.
const bytes = Buffer.alloc(3 << 20, 'some bytes, ');
for (const ChecksumAlgorithm of ['CRC32', 'CRC32C', 'SHA256']) {
  const Body = Readable.from([bytes.subarray(0, 1000), bytes.subarray(1000)]);
  await s3.send(new PutObjectCommand({ Bucket, Key: 'stream', Body, ContentLength: bytes.length, ChecksumAlgorithm }));
  assert.equal(sha256(await get('stream')), sha256(bytes));
}
assert.equal((await get('stream', { Range: 'bytes=5-14' })).toString(), bytes.subarray(5, 15).toString());

const parts = Buffer.alloc(11 << 20, 'in parts, ');
const upload = new Upload({ client: s3, params: { Bucket, Key: 'parts', Body: Readable.from([parts]) } });
await upload.done();
assert.equal(sha256(await get('parts')), sha256(parts));

const Objects = keys.map((Key) => ({ Key }));
const { Deleted } = await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
assert.equal(Deleted.length, keys.length);
await assert.rejects(get(keys[0]), { name: 'NoSuchKey' });
