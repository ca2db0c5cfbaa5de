// Building and reading XML elements. Elements that are sent carry their namespace as an `xmlns` attribute.

const doc = document.implementation.createDocument(null, null, null);

export type Attributes = Record<string, string | number | boolean | null | undefined>;
export type Child = Element | string | null | undefined | false;

/** Makes an element. Attributes without a value are left out, text is escaped when it is written. */
export function x(name: string, attributes: Attributes = {}, ...children: Child[]): Element {
  const element = doc.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(key, String(value));
  }
  for (const child of children) {
    if (child) element.append(typeof child === 'string' ? doc.createTextNode(valid(child)) : child);
  }
  return element;
}

/** Characters that XML cannot carry at all are left out. */
function valid(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '');
}

export function nameOf(element: Element): string {
  return element.localName ?? element.nodeName;
}

function inNamespace(element: Element, ns: string | undefined): boolean {
  return ns === undefined || element.namespaceURI === ns || element.getAttribute('xmlns') === ns;
}

/** Child elements, of a name and namespace if given. */
export function children(element: Element, name?: string, ns?: string): Element[] {
  const all: Element[] = [];
  for (const node of Array.from(element.childNodes)) {
    if (node.nodeType !== 1) continue;
    const child = node as Element;
    if ((name === undefined || nameOf(child) === name) && inNamespace(child, ns)) all.push(child);
  }
  return all;
}

/** The first such child. */
export function child(element: Element | undefined, name: string, ns?: string): Element | undefined {
  return element && children(element, name, ns)[0];
}

export function text(element: Element | undefined): string {
  return element?.textContent ?? '';
}

export function attr(element: Element | undefined, name: string): string | undefined {
  return element?.getAttribute(name) ?? undefined;
}

/** Reads a document; nothing if it is not well-formed. */
export function parse(source: string): Element | undefined {
  const parsed = new DOMParser().parseFromString(source, 'text/xml').documentElement;
  return !parsed || parsed.nodeName === 'parsererror' ? undefined : parsed;
}

/** JSON that must be an object; anything else is nothing. */
export function json(source: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(source);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
