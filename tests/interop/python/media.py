"""aiortc, a WebRTC stack unrelated to ours and to browsers', through the whole server: two on stage (VP8 and H.264, Opus), one in the
audience. Pictures and tones have to come out of its decoders as they went in."""

import asyncio
import uuid

from client import expect
from meeting import Person
from report import check, finish
from session import Session
from signals import HEIGHT, WIDTH, Picture, Tone, colour, strength

LABEL = "aiortc"
# Frames of video, and of audio, that must come out of a decoder one after the other.
FRAMES, TONES = 45, 100


class Publisher:
    def __init__(self, codec, colour, pitch):
        self.codec, self.colour, self.pitch = codec, colour, pitch


VP8 = Publisher("vp8", (90, 200), 440)
H264 = Publisher("h264", (190, 80), 1_000)


async def enter(room, publisher=None):
    person = Person(room, visitor=publisher is None, codecs="vp8,h264")
    await person.come()
    return person


async def start(person, publisher=None):
    """Media of somebody who is in the room; the focus offers none to one who is alone."""
    tracks = [Picture(publisher.colour), Tone(publisher.pitch)] if publisher else []
    codecs = ["vp8", "h264"] if publisher is not H264 else ["h264", "vp8"]
    session = Session(person, await person.offers.get(), codecs, tracks)
    await session.start()
    return session


async def sees(session, of, publisher):
    """Frames in a row that have the colour, and are not all alike."""
    track, good, bars = await session.track(f"{of}-v0"), 0, set()
    while good < FRAMES:
        frame = await track.recv()
        seen, size = colour(frame)
        near = all(abs(a - b) < 12 for a, b in zip(seen, publisher.colour))
        good = good + 1 if near and size == (WIDTH, HEIGHT) else 0
        row = bytes(frame.planes[0])[:WIDTH]
        bars.add(max(range(WIDTH), key=row.__getitem__) // 4)
    expect(len(bars) > FRAMES // 3, f"the picture stands still: {len(bars)} places of the bar")


async def hears(session, of, publisher):
    """Most of the energy is the tone."""
    track, good = await session.track(f"{of}-a0"), 0
    while good < TONES:
        good += strength(await track.recv(), publisher.pitch) > 0.8


async def main():
    room = f"media{uuid.uuid4().hex[:8]}"
    people = []
    for name, publisher in [("the first on stage", VP8), ("the second on stage", H264), ("the audience", None)]:
        people.append((name, publisher, await check(f"{LABEL}: {name} comes in", enter(room, publisher))))
    if None in [person for *_, person in people]:
        finish()
    sessions = [await check(f"{LABEL}: {name} is connected", start(person, publisher), 30) for name, publisher, person in people]
    ann, bob, vic = sessions
    if None in sessions:
        finish()
    for name, who, of, publisher in [
        ("the audience", vic, ann, VP8),
        ("the audience", vic, bob, H264),
        ("the first on stage", ann, bob, H264),
        ("the second on stage", bob, ann, VP8),
    ]:
        await check(f"{LABEL}: {name} sees {publisher.codec}", sees(who, of.person.id, publisher), 30)
        await check(f"{LABEL}: {name} hears it", hears(who, of.person.id, publisher), 30)
    for session in sessions:
        await session.close()
        await session.person.leave()
    finish()


if __name__ == "__main__":
    asyncio.run(main())
