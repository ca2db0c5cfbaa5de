import { render } from 'preact';
import { readConfig, roomOf } from './config';
import { Meeting } from './meeting/meeting';
import './styles.css';
import { App } from './view/App';
import { Home } from './view/Home';

const root = document.getElementById('app')!;
const { tenant, room } = roomOf(location.pathname);

if (room) {
  document.title = `${room} · Amphi`;
  const token = new URLSearchParams(location.search).get('jwt') ?? undefined;
  const meeting = new Meeting(readConfig(), room, tenant, token);
  // Tests and the curious look at the meeting here.
  (globalThis as { amphi?: Meeting }).amphi = meeting;
  meeting.comeBack();
  render(<App meeting={meeting} />, root);
} else {
  render(<Home />, root);
}
