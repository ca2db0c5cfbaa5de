// Parts of an address.

export const bare = (jid: string): string => jid.split('/', 1)[0] ?? '';
export const resource = (jid: string): string => {
  const at = jid.indexOf('/');
  return at < 0 ? '' : jid.slice(at + 1);
};
export const localpart = (jid: string): string => {
  const b = bare(jid);
  const at = b.indexOf('@');
  return at < 0 ? '' : b.slice(0, at);
};
export const host = (jid: string): string => {
  const b = bare(jid);
  return b.slice(b.indexOf('@') + 1);
};

/** The nickname of an address: its first eight hexadecimal digits, or made up (spec/client.md 4). */
export function nickOf(jid: string, random: () => number = Math.random): string {
  const begin = localpart(jid).slice(0, 8);
  if (/^[0-9a-f]{8}$/.test(begin)) return begin;
  return Array.from({ length: 8 }, () => Math.floor(random() * 16).toString(16)).join('');
}
