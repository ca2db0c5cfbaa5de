// The server under test, from the environment.

const url = process.env.AMPHI_URL ?? 'http://127.0.0.1:5280';
const domain = process.env.AMPHI_DOMAIN ?? 'localhost';

export const target = {
  domain,
  muc: process.env.AMPHI_MUC ?? `conference.${domain}`,
  // `none` for a server without a focus: conference requests are left out, and the first occupant makes the room.
  focus: process.env.AMPHI_FOCUS ?? `focus.${domain}`,
  websocket: `${url.replace(/^http/, 'ws')}/xmpp-websocket`,
  bosh: `${url}/http-bind`,
};

export const hasFocus = target.focus !== 'none';
