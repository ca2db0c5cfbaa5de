// Which microphone, camera and loudspeaker are used.

import type { DeviceKind, LocalMedia } from '../media/devices';

const LABELS: Record<DeviceKind, string> = { audioinput: 'Microphone', videoinput: 'Camera', audiooutput: 'Loudspeaker' };

export function DeviceSelects({ local, kinds }: { local: LocalMedia; kinds: DeviceKind[] }) {
  return (
    <>
      {kinds.map((kind) => {
        const all = local.devices.value.filter((d) => d.kind === kind && d.label);
        if (all.length < 2) return null;
        const id = `device-${kind}`;
        return (
          <div class="field" key={kind}>
            <label for={id}>{LABELS[kind]}</label>
            <select id={id} value={all.some((d) => d.deviceId === local.chosen.value[kind]) ? local.chosen.value[kind] : all[0]!.deviceId} onChange={(e) => void local.choose(kind, e.currentTarget.value)}>
              {all.map((d) => (
                <option value={d.deviceId} key={d.deviceId}>
                  {d.label}
                </option>
              ))}
            </select>
          </div>
        );
      })}
    </>
  );
}
