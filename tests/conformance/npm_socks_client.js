// SPDX-License-Identifier: MIT
// npm_socks_client - the npm package `socks` at work: PROXY-PORT sum|bind|associate 4|5 HOST PORT FILE
'use strict';
const { SocksClient } = require('socks');
const crypto = require('crypto');
const dgram = require('dgram');
const fs = require('fs');
const net = require('net');

const [proxyPort, what, version, host, port, file] = process.argv.slice(2);
const options = (command, destination) => ({
  proxy: { host: '127.0.0.1', port: Number(proxyPort), type: Number(version) },
  command, destination, timeout: 30000,
});
const fail = (error) => { console.error(error.message || error); process.exit(1); };

function sum() {
  SocksClient.createConnection(options('connect', { host, port: Number(port) })).then((info) => {
    info.socket.on('data', (data) => { console.log(data.toString().trim()); process.exit(0); });
    info.socket.on('error', fail);
    info.socket.on('close', () => process.exit(0));
    info.socket.end(fs.readFileSync(file));
    info.socket.resume();
  }, fail);
}

// The far side listens; somebody comes from `host` and sends the file.
function bind() {
  const client = new SocksClient(options('bind', { host, port: Number(port) }));
  let caller;
  client.on('error', fail);
  client.on('bound', (info) => {
    caller = net.connect({ host: info.remoteHost.host, port: info.remoteHost.port,
      localAddress: host });
    caller.on('error', fail);
  });
  client.on('established', (info) => {
    const hash = crypto.createHash('sha256');
    info.socket.on('data', (data) => hash.update(data));
    info.socket.on('end', () => { console.log(hash.digest('hex')); process.exit(0); });
    info.socket.on('error', fail);
    info.socket.resume();
    // Not before: the package loses what comes in one segment with the second reply.
    caller.end(fs.readFileSync(file));
  });
  client.connect();
}

function associate() {
  const udp = dgram.createSocket('udp4');
  const client = new SocksClient(options('associate', { host: '0.0.0.0', port: 0 }));
  let back = 0, turn = 0, data;
  client.on('error', fail);
  client.on('established', (info) => {
    const next = () => {
      if (turn++ === 20) {
        console.log(`${back} of 20`);
        process.exit(0);
      }
      data = crypto.randomBytes(1 + 70 * turn);
      udp.send(SocksClient.createUDPFrame({
        remoteHost: { host, port: Number(port) }, data }),
      info.remoteHost.port, info.remoteHost.host);
    };
    udp.on('message', (message) => {
      back += SocksClient.parseUDPFrame(message).data.equals(data) ? 1 : 0;
      next();
    });
    next();
  });
  client.connect();
}

setTimeout(() => fail('nothing within 30 s'), 30000);
({ sum, bind, associate })[what]();
