// What the server tells the page about itself. The server writes it into the document, so that no request is needed.

export interface Config {
  /** The domain that people log in to. */
  domain: string;
  /** Address of the conference service. */
  muc: string;
  /** Origin for HTTP requests. */
  http: string;
  /** Origin for WebSockets. */
  ws: string;
  /** Video codecs by preference; the first that the bridge offers is sent. */
  codecs: string[];
}

export function readConfig(doc: Document = document, at: Location = location): Config {
  let given: Partial<Config> = {};
  try {
    given = JSON.parse(doc.getElementById('amphi-config')?.textContent || '{}');
  } catch {
    console.warn('The configuration in the page is no JSON; the usual values are used.');
  }
  const domain = given.domain ?? at.hostname;
  return {
    domain,
    muc: given.muc ?? `conference.${domain}`,
    http: given.http ?? at.origin,
    ws: given.ws ?? at.origin.replace(/^http/, 'ws'),
    codecs: given.codecs ?? ['vp8', 'vp9', 'av1', 'h264'],
  };
}

/** Room and tenant of an address: `/town`, `/school/town`. */
export function roomOf(path: string): { tenant: string; room: string } {
  const parts = path.split('/').filter(Boolean).map((p) => {
    try {
      return decodeURIComponent(p);
    } catch {
      return p;
    }
  });
  const room = normal(parts.pop() ?? '');
  return { tenant: normal(parts.join('/')), room };
}

/** Names of rooms are compared in this form (spec/client.md 2). */
export function normal(name: string): string {
  return name.trim().normalize('NFKC').toLowerCase();
}

/** The local part of a room's address. */
export function roomNode(name: string): string {
  return encodeURIComponent(normal(name)).toLowerCase();
}
