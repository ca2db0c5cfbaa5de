// The bridge channel: JSON messages over a data channel, or over a WebSocket where no data channel is offered.

import { Emitter } from '../emitter';

export type BridgeMessage = Record<string, unknown> & { colibriClass: string };

type Events = { message: [BridgeMessage]; open: []; closed: [] };

export class BridgeChannel extends Emitter<Events> {
  private data?: RTCDataChannel;
  private socket?: WebSocket;
  private retry?: ReturnType<typeof setTimeout>;
  private attempt = 0;
  private isClosed = false;

  static overData(pc: RTCPeerConnection): BridgeChannel {
    const channel = new BridgeChannel();
    const data = pc.createDataChannel('JVB data channel', { protocol: 'http://jitsi.org/protocols/colibri' });
    channel.data = data;
    data.onopen = () => channel.emit('open');
    data.onclose = () => channel.emit('closed');
    data.onmessage = (e: MessageEvent<string>) => channel.input(e.data);
    return channel;
  }

  static overWebSocket(url: string): BridgeChannel {
    const channel = new BridgeChannel();
    channel.connect(url);
    return channel;
  }

  private connect(url: string): void {
    if (this.isClosed) return;
    const socket = new WebSocket(url);
    this.socket = socket;
    socket.onopen = () => {
      this.attempt = 0;
      this.emit('open');
    };
    socket.onmessage = (e: MessageEvent<string>) => this.input(e.data);
    socket.onclose = () => {
      this.emit('closed');
      if (this.isClosed) return;
      this.retry = setTimeout(() => this.connect(url), Math.min(1000 * 2 ** this.attempt++, 60_000));
    };
  }

  get isOpen(): boolean {
    return this.data?.readyState === 'open' || this.socket?.readyState === WebSocket.OPEN;
  }

  send(message: BridgeMessage | { colibriClass: string }): void {
    if (!this.isOpen) return;
    const text = JSON.stringify(message);
    if (this.data) this.data.send(text);
    else this.socket?.send(text);
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.retry);
    this.data?.close();
    this.socket?.close();
    this.clear();
  }

  private input(text: unknown): void {
    if (typeof text !== 'string') return;
    try {
      const value: unknown = JSON.parse(text);
      if (typeof value === 'object' && value !== null && typeof (value as BridgeMessage).colibriClass === 'string') {
        this.emit('message', value as BridgeMessage);
      }
    } catch {
      console.warn('The bridge sent what is no JSON.');
    }
  }
}
