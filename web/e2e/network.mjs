// A network that can be cut: relays for TCP (page, signaling) and UDP (media) between the browser and the server.

import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';
import { pageOf } from './lab.mjs';

/** Passes TCP connections on to a port; a cut one is reset, and a new one is refused. */
class TcpRelay {
  static async to(target) {
    const relay = new TcpRelay();
    relay.pairs = new Set();
    relay.isCut = false;
    relay.server = createServer((near) => {
      if (relay.isCut) return near.resetAndDestroy();
      const far = connect(target, '127.0.0.1');
      const pair = [near, far];
      relay.pairs.add(pair);
      for (const [a, b] of [pair, [far, near]]) {
        a.on('error', () => {});
        a.on('close', () => (b.destroy(), relay.pairs.delete(pair)));
        a.pipe(b);
      }
    });
    await new Promise((done) => relay.server.listen(0, '127.0.0.1', done));
    relay.port = relay.server.address().port;
    return relay;
  }

  cut() {
    this.isCut = true;
    for (const pair of this.pairs) pair.forEach((s) => s.resetAndDestroy());
  }

  close() {
    this.cut();
    this.server.close();
  }
}

/** Passes datagrams on to a port; those of the browser sockets in `cut` are swallowed, and those for them. */
class UdpRelay {
  static async open() {
    const relay = new UdpRelay();
    relay.cut = new Set();
    relay.target = 0;
    relay.far = new Map();
    relay.near = createSocket('udp4');
    relay.near.on('message', (data, from) => {
      if (relay.cut.has(from.port) || !relay.target) return;
      let far = relay.far.get(from.port);
      if (!far) {
        far = createSocket('udp4');
        far.on('message', (answer) => relay.cut.has(from.port) || relay.near.send(answer, from.port, from.address));
        far.on('error', () => {});
        relay.far.set(from.port, far);
      }
      far.send(data, relay.target, '127.0.0.1');
    });
    await new Promise((done) => relay.near.bind(0, '127.0.0.1', done));
    relay.port = relay.near.address().port;
    return relay;
  }

  close() {
    this.near.close();
    this.far.forEach((s) => s.close());
  }
}

export const mediaRelay = () => UdpRelay.open();

/** One person's way to the server. */
export class Network {
  static async to(server, media) {
    const network = new Network();
    network.tcp = await TcpRelay.to(Number(new URL(server.front).port));
    network.media = media;
    network.page = await pageOf(network.tcp.port);
    network.url = network.page.url;
    network.front = `http://localhost:${network.tcp.port}`;
    return network;
  }

  async cut(person) {
    const ports = await person.page.evaluate(async () => {
      const all = [];
      (await amphi.peerConnection?.getStats())?.forEach((s) => s.type === 'local-candidate' && all.push(s.port));
      return all;
    });
    ports.forEach((p) => this.media?.cut.add(p));
    this.tcp.cut();
  }

  heal() {
    this.tcp.isCut = false;
    this.media?.cut.clear();
  }

  close() {
    this.page.close();
    this.tcp.close();
  }
}
