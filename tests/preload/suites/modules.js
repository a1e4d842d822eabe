// What node does in C++ and in its libraries, each answer known beforehand: buffers, streams,
// compression, cryptography, child processes, workers, sockets, wasm, vm contexts.
'use strict';
const assert = require('assert');
const { execFileSync } = require('child_process');
const crypto = require('crypto');
const http = require('http');
const vm = require('vm');
const zlib = require('zlib');
const { Worker, isMainThread, parentPort } = require('worker_threads');

function text(seed, lines) {
    let all = '';
    for (let i = 0; i < lines; i++) all += `line ${(i * seed) % 9973} of ${seed}\n`;
    return all;
}

function compress() {
    const plain = text(7, 60000);
    for (const [there, back] of [['gzipSync', 'gunzipSync'], ['deflateRawSync', 'inflateRawSync'],
                                 ['brotliCompressSync', 'brotliDecompressSync']])
        assert.strictEqual(zlib[back](zlib[there](plain, { level: 4, params: { 1: 4 } })).toString(), plain);
}

function encrypt() {
    const key = crypto.scryptSync('word', 'salt', 32), start = Buffer.alloc(12, 3);
    const cipher = crypto.createCipheriv('aes-256-gcm', key, start);
    const closed = Buffer.concat([cipher.update(text(11, 5000)), cipher.final()]);
    const decipher = crypto.createDecipheriv('aes-256-gcm', key, start).setAuthTag(cipher.getAuthTag());
    assert.strictEqual(decipher.update(closed) + decipher.final('utf8'), text(11, 5000));
    const { publicKey, privateKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
    for (let i = 0; i < 200; i++)
        assert(crypto.verify('sha256', Buffer.from(`${i}`), publicKey,
                             crypto.sign('sha256', Buffer.from(`${i}`), privateKey)));
}

function contexts() {
    for (let i = 0; i < 100; i++) {
        const answer = vm.runInNewContext(`JSON.parse(JSON.stringify({ a: [...Array(${i}).keys()] })).a.length`);
        assert.strictEqual(answer, i);
    }
}

function children() {
    for (let i = 0; i < 5; i++)
        assert.strictEqual(execFileSync(process.execPath, ['-p', `'x'.repeat(${i * 1000}).length`]).toString(),
                           `${i * 1000}\n`);
}

async function serve() {
    const server = http.createServer((request, answer) => request.pipe(zlib.createGzip()).pipe(answer));
    await new Promise((done) => server.listen(0, '127.0.0.1', done));
    const port = server.address().port;
    const ask = (body) => new Promise((done, fail) => {
        const request = http.request({ host: '127.0.0.1', port, method: 'POST' }, (answer) => {
            const parts = [];
            answer.on('data', (part) => parts.push(part));
            answer.on('end', () => done(zlib.gunzipSync(Buffer.concat(parts)).toString()));
        });
        request.on('error', fail);
        request.end(body);
    });
    for (let round = 0; round < 20; round++) {
        const bodies = Array.from({ length: 20 }, (_, i) => text(round + 1, i * 50));
        assert.deepStrictEqual(await Promise.all(bodies.map(ask)), bodies);
    }
    server.close();
}

function workers(count) {
    return Promise.all(Array.from({ length: count }, (_, i) => new Promise((done, fail) => {
        const worker = new Worker(__filename);
        worker.once('message', (sum) => {
            assert.strictEqual(sum, text(i + 1, 20000).length);
            worker.terminate().then(done);
        });
        worker.on('error', fail);
        worker.postMessage(i + 1);
    })));
}

async function main() {
    compress();
    encrypt();
    contexts();
    children();
    await serve();
    for (let i = 0; i < 3; i++) await workers(4);
}

if (isMainThread) main().catch((error) => { console.error(error); process.exit(1); });
else parentPort.once('message', (seed) => {
    compress();
    parentPort.postMessage(text(seed, 20000).length);
});
