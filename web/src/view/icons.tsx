// Icons, drawn for this page on a grid of 24.

import type { JSX } from 'preact';

const paths: Record<string, JSX.Element> = {
  mic: <><rect x="9" y="3" width="6" height="11" rx="3" /><path d="M5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3" /></>,
  micOff: <><path d="M9 9.5V6a3 3 0 0 1 6 0v5c0 .4-.1.8-.2 1.2M5.5 11.5a6.5 6.5 0 0 0 10.6 5M18.3 13c.1-.5.2-1 .2-1.5M12 18v3M4 3.5l16 17" /></>,
  camera: <><rect x="3" y="6.5" width="12.5" height="11" rx="2.5" /><path d="m15.5 10.8 5-2.8v8l-5-2.8" /></>,
  cameraOff: <><path d="M8.5 6.5H13a2.5 2.5 0 0 1 2.5 2.500v1.800l5-2.800v8l-2.5-1.400M15 16.300a2.5 2.5 0 0 1-2 1.200H5.500A2.5 2.5 0 0 1 3 15V9a2.5 2.5 0 0 1 1.6-2.300M4 3.500l16 17" /></>,
  screen: <><rect x="3" y="4.5" width="18" height="12" rx="2" /><path d="M8.5 20.500h7M12 13.500v-6M9.3 10 12 7.300l2.7 2.7" /></>,
  screenOff: <><rect x="3" y="4.5" width="18" height="12" rx="2" /><path d="M8.5 20.500h7M9.8 8.300l4.4 4.400M14.2 8.300l-4.4 4.4" /></>,
  hand: <path d="M8 12.500V6.200a1.4 1.4 0 0 1 2.8 0V11m0-.500V4.400a1.4 1.4 0 0 1 2.8 0v6.100m0 .200V5.700a1.4 1.4 0 0 1 2.8 0V13m0-2.500a1.4 1.4 0 0 1 2.8 0v3.700c0 4-2.4 6.8-6.2 6.8-2.8 0-4.2-1-5.7-3.200l-2.7-4.300a1.4 1.4 0 0 1 2.3-1.600L8 13.6" />,
  chat: <path d="M20.5 11.800c0 4.2-3.8 7.5-8.5 7.5-1.1 0-2.2-.2-3.2-.500L4 20.500l1.3-3.800a7 7 0 0 1-1.8-4.900c0-4.2 3.8-7.6 8.5-7.600s8.5 3.4 8.5 7.600Z" />,
  people: <><circle cx="9" cy="8.5" r="3.5" /><path d="M2.8 19.500c.6-3.3 3.1-5 6.2-5s5.6 1.7 6.2 5M15.5 5.300a3.5 3.5 0 0 1 0 6.400M17.8 14.900c1.9.7 3 2.3 3.4 4.6" /></>,
  audience: <><path d="M4 19a8 8 0 0 1 16 0M8 19a4 4 0 0 1 8 0" /><circle cx="12" cy="7" r="2.5" /></>,
  leave: <path d="M3.5 14.500c-.9-1-.9-2.7.1-3.700C5.8 8.7 8.8 7.5 12 7.500s6.2 1.2 8.4 3.300c1 1 1 2.7.1 3.700l-.7.700c-.5.5-1.3.6-1.9.200l-2-1.300a1.5 1.5 0 0 1-.7-1.300v-1.200a11 11 0 0 0-6.4 0v1.200c0 .5-.3 1-.7 1.300l-2 1.300c-.6.4-1.4.3-1.9-.200Z" />,
  more: <><circle cx="5.5" cy="12" r="1.3" /><circle cx="12" cy="12" r="1.3" /><circle cx="18.5" cy="12" r="1.3" /></>,
  pin: <path d="M9 3.500h6l-.7 6 3.2 3.500v1.500h-11V13l3.2-3.500ZM12 14.500v6" />,
  close: <path d="m6 6 12 12M18 6 6 18" />,
  send: <path d="m4.5 12 15-7.5-4.5 15-3.5-6Zm7 1.5 8-9" />,
  copy: <><rect x="8.5" y="8.5" width="11" height="11" rx="2.2" /><path d="M15.5 5.500a2 2 0 0 0-2-2h-7a2.5 2.5 0 0 0-2.5 2.500v7a2 2 0 0 0 1.5 2" /></>,
  link: <path d="M10 14a4 4 0 0 0 5.8.200l3-3a4 4 0 0 0-5.7-5.700l-1.3 1.300M14 10a4 4 0 0 0-5.8-.200l-3 3a4 4 0 0 0 5.7 5.700l1.3-1.3" />,
  settings: <><path d="M4 7h9M17.5 7H20M4 17h2.500M11 17h9" /><circle cx="15.2" cy="7" r="2.2" /><circle cx="8.8" cy="17" r="2.2" /></>,
  check: <path d="m5 12.5 4.5 4.500L19 7.5" />,
  star: <path d="m12 4 2.4 5 5.6.7-4.1 3.8 1.1 5.5-5-2.7-5 2.7 1.1-5.500L4 9.7 9.6 9Z" />,
  down: <path d="m6 9.5 6 6 6-6" />,
  clock: <><circle cx="12" cy="12" r="8.5" /><path d="M12 7.500V12l3 2" /></>,
  warn: <path d="M12 4 3 19.500h18ZM12 10v4.500M12 17v.2" />,
  lock: <><rect x="5" y="10.5" width="14" height="9.5" rx="2.2" /><path d="M8 10.500V8a4 4 0 0 1 8 0v2.5" /></>,
  stepDown: <path d="M4 6h6v5h5v5h5M9 19.5 5.5 16M5.5 16 9 12.5" />,
  keyboard: <><rect x="2.5" y="6" width="19" height="12" rx="2.2" /><path d="M6.5 10h.100M10 10h.100M13.5 10h.100M17 10h.100M8 14h8" /></>,
  live: <><circle cx="12" cy="12" r="2.2" /><path d="M7.5 16.500a6.4 6.4 0 0 1 0-9M16.5 7.500a6.4 6.4 0 0 1 0 9M4.7 19.300a10.3 10.3 0 0 1 0-14.600M19.3 4.700a10.3 10.3 0 0 1 0 14.6" /></>,
};

export type IconName = keyof typeof paths;

export function Icon({ name, size = 22 }: { name: string; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      {paths[name]}
    </svg>
  );
}

export function Logo({ size = 30 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true">
      <path d="M4 24a12 12 0 0 1 24 0M10 24a6 6 0 0 1 12 0" fill="none" stroke="var(--accent)" stroke-width="2.8" stroke-linecap="round" />
      <circle cx="16" cy="23.5" r="2.4" fill="var(--gold)" />
    </svg>
  );
}
