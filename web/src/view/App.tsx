// Chooses the page by where the person is.

import type { Meeting } from '../meeting/meeting';
import { MeetingView } from './MeetingView';
import { Prejoin } from './Prejoin';
import { Ended, Joining, Knocking, Password, Waiting } from './Status';

export function App({ meeting }: { meeting: Meeting }) {
  const phase = meeting.state.phase.value;
  switch (phase.kind) {
    case 'lobby':
      return <Prejoin meeting={meeting} />;
    case 'joining':
      return <Joining phase={phase} meeting={meeting} />;
    case 'waiting':
      return <Waiting phase={phase} meeting={meeting} />;
    case 'knocking':
      return <Knocking phase={phase} meeting={meeting} />;
    case 'password':
      return <Password phase={phase} meeting={meeting} />;
    case 'meeting':
      return <MeetingView meeting={meeting} />;
    case 'ended':
      return <Ended phase={phase} meeting={meeting} />;
  }
}
