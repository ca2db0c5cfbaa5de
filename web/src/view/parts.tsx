// Small parts that several views share.

import { signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { Icon } from './icons';

/** A colour of one's own, the same for everybody. */
export function hue(id: string): number {
  let h = 0;
  for (const c of id) h = (h * 31 + c.charCodeAt(0)) >>> 0;
  return h % 360;
}

export function initials(name: string): string {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : [words[0]];
  return letters.map((w) => [...(w ?? '?')][0]?.toUpperCase() ?? '').join('') || '?';
}

export function Avatar({ id, name, size }: { id: string; name: string; size: number }) {
  const style = { '--hue': hue(id), width: `${size}px`, height: `${size}px`, fontSize: `${size * 0.38}px` };
  return (
    <span class="avatar" style={style} aria-hidden="true">
      {initials(name)}
    </span>
  );
}

export function Video({ track, mirrored, contain }: { track: MediaStreamTrack; mirrored?: boolean; contain?: boolean }) {
  const ref = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    const element = ref.current;
    if (!element) return;
    element.srcObject = new MediaStream([track]);
    void element.play().catch(() => undefined);
    return () => {
      element.srcObject = null;
    };
  }, [track]);
  const look = `${mirrored ? 'mirrored ' : ''}${contain ? 'contain' : ''}`;
  return <video ref={ref} class={look} autoplay playsInline muted disablePictureInPicture tabIndex={-1} aria-hidden="true" />;
}

/** A button with an icon and words for those who do not see it. */
export function IconButton(props: {
  icon: string;
  label: string;
  onClick: () => void;
  shortcut?: string;
  tone?: string;
  pressed?: boolean;
  expanded?: boolean;
  badge?: number;
  disabled?: boolean;
  size?: number;
  caption?: string;
}) {
  const title = props.shortcut ? `${props.label} (${props.shortcut})` : props.label;
  return (
    <button
      type="button"
      class={`icon-button ${props.tone ?? ''}`}
      onClick={props.onClick}
      title={title}
      aria-label={props.label}
      aria-pressed={props.pressed}
      aria-expanded={props.expanded}
      aria-keyshortcuts={props.shortcut}
      disabled={props.disabled}
    >
      <Icon name={props.icon} size={props.size} />
      {props.caption && <span class="caption" aria-hidden="true">{props.caption}</span>}
      {props.badge ? <span class="badge">{props.badge > 99 ? '99+' : props.badge}</span> : null}
    </button>
  );
}

export interface MenuItem {
  label: string;
  icon: string;
  onClick: () => void;
  tone?: 'bad';
}

export function Menu({ label, items, icon = 'more', tone = 'quiet small' }: { label: string; items: MenuItem[]; icon?: string; tone?: string }) {
  const [isOpen, setOpen] = useState(false);
  const [place, setPlace] = useState<Record<string, string>>({});
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!isOpen) return;
    // Fixed to the window, so that no panel cuts it off; above the button where there is no room below.
    const button = ref.current!.getBoundingClientRect();
    const height = ref.current?.querySelector<HTMLElement>('.menu-list')?.offsetHeight ?? 0;
    const right = `${Math.max(8, innerWidth - button.right)}px`;
    const fits = button.bottom + height + 14 < innerHeight;
    setPlace(fits ? { right, top: `${button.bottom + 6}px` } : { right, bottom: `${innerHeight - button.top + 6}px` });
    ref.current?.querySelector<HTMLElement>('.menu-list button')?.focus();
    const outside = (e: PointerEvent) => !ref.current?.contains(e.target as Node) && setOpen(false);
    addEventListener('pointerdown', outside);
    return () => removeEventListener('pointerdown', outside);
  }, [isOpen]);
  const close = () => {
    setOpen(false);
    ref.current?.querySelector<HTMLElement>('button')?.focus();
  };
  const onKeyDown = (e: KeyboardEvent) => {
    const buttons = [...(ref.current?.querySelectorAll<HTMLElement>('.menu-list button') ?? [])];
    const at = buttons.indexOf(document.activeElement as HTMLElement);
    if (e.key === 'Escape' && isOpen) close();
    else if (e.key === 'ArrowDown' && isOpen) buttons[(at + 1) % buttons.length]?.focus();
    else if (e.key === 'ArrowUp' && isOpen) buttons[(at - 1 + buttons.length) % buttons.length]?.focus();
    else return;
    e.preventDefault();
    e.stopPropagation();
  };
  return (
    <div class="menu" ref={ref} onKeyDown={onKeyDown}>
      <button type="button" class={`icon-button ${tone}`} aria-label={label} title={label} aria-haspopup="menu" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <Icon name={icon} size={20} />
      </button>
      {isOpen && (
        <div class="menu-list" style={place} role="menu" aria-label={label}>
          {items.map((i) => (
            <button type="button" role="menuitem" key={i.label} class={i.tone ?? ''} onClick={() => (close(), i.onClick())}>
              <Icon name={i.icon} size={18} />
              {i.label}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

export function Dialog({ title, onClose, children, wide }: { title: string; onClose: () => void; children: ComponentChildren; wide?: boolean }) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (!ref.current?.open) ref.current?.showModal();
  }, []);
  return (
    <dialog
      ref={ref}
      class={wide ? 'wide' : ''}
      aria-labelledby="dialog-title"
      onCancel={(e) => (e.preventDefault(), onClose())}
      onClick={(e) => e.target === ref.current && onClose()}
    >
      <div class="dialog-body">
        <header>
          <h2 id="dialog-title">{title}</h2>
          <IconButton icon="close" label="Close" tone="quiet small" size={20} onClick={onClose} />
        </header>
        {children}
      </div>
    </dialog>
  );
}

/** The time, once a second, for what shows it. */
export const now = signal(Date.now());
setInterval(() => (now.value = Date.now()), 1000);

export function clock(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n: number) => String(n).padStart(2, '0');
  const h = Math.floor(s / 3600);
  return h > 0 ? `${h}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
}

export function count(n: number): string {
  return n >= 10_000 ? `${(n / 1000).toFixed(n < 100_000 ? 1 : 0)}k` : n.toLocaleString('en');
}

/** 1st, 2nd, 3rd, 11th. */
export function ordinal(n: number): string {
  const kind = new Intl.PluralRules('en', { type: 'ordinal' }).select(n);
  return `${n}${{ one: 'st', two: 'nd', few: 'rd', other: 'th', zero: 'th', many: 'th' }[kind]}`;
}

export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
