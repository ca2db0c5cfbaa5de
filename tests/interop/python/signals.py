"""Pictures and tones that are recognised on the other side: a publisher has a colour and a pitch."""

import array
import asyncio
import fractions
import math
import time

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, VideoFrame

WIDTH, HEIGHT, FPS = 320, 240, 15
RATE, SAMPLES = 48_000, 960


class Picture(MediaStreamTrack):
    """A plane of one colour (U and V) with a bar that moves, so that no frame is like the one before."""

    kind = "video"

    def __init__(self, colour):
        super().__init__()
        self.colour = colour
        self.count = 0
        self.begin = time.monotonic()

    async def recv(self):
        if self.readyState != "live":
            raise MediaStreamError
        await asyncio.sleep(max(0, self.begin + self.count / FPS - time.monotonic()))
        frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
        luma, u, v = frame.planes
        at = self.count * 4 % (WIDTH - 32)
        row = bytes([90]) * at + bytes([200]) * 32 + bytes([90]) * (WIDTH - 32 - at)
        luma.update((row + bytes(luma.line_size - WIDTH)) * HEIGHT)
        for plane, value in zip((u, v), self.colour):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.pts = self.count * 90_000 // FPS
        frame.time_base = fractions.Fraction(1, 90_000)
        self.count += 1
        return frame


class Tone(MediaStreamTrack):
    """A sine."""

    kind = "audio"

    def __init__(self, pitch):
        super().__init__()
        self.pitch = pitch
        self.count = 0
        self.begin = time.monotonic()

    async def recv(self):
        if self.readyState != "live":
            raise MediaStreamError
        await asyncio.sleep(max(0, self.begin + self.count / RATE - time.monotonic()))
        frame = AudioFrame("s16", "mono", SAMPLES)
        step = 2 * math.pi * self.pitch / RATE
        wave = array.array("h", (int(9_000 * math.sin(step * (self.count + n))) for n in range(SAMPLES)))
        frame.planes[0].update(wave.tobytes())
        frame.pts, frame.sample_rate, frame.time_base = self.count, RATE, fractions.Fraction(1, RATE)
        self.count += SAMPLES
        return frame


def colour(frame):
    """U and V of a decoded frame, in its middle, and its size."""
    picture = frame.reformat(format="yuv420p")
    middle = lambda plane: bytes(plane)[plane.line_size * (plane.height // 2) + plane.width // 2]
    return tuple(middle(it) for it in picture.planes[1:]), (frame.width, frame.height)


def strength(frame, pitch):
    """How much of a decoded frame's energy is at a pitch: 0 to about 1 (Goertzel's filter). 0 for silence."""
    channels = len(frame.layout.channels)
    wave = array.array("h", bytes(frame.planes[0])[: 2 * channels * frame.samples])[::channels]
    energy = sum(it * it for it in wave)
    if energy < len(wave) * 10_000:
        return 0
    factor, one, two = 2 * math.cos(2 * math.pi * pitch / frame.sample_rate), 0.0, 0.0
    for it in wave:
        one, two = it + factor * one - two, one
    return 2 * (one * one + two * two - factor * one * two) / (len(wave) * energy)
