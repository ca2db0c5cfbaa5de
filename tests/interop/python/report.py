"""Results of a script: a line `ok ...` or `not ok ...` for each check, and an exit code other than 0 when one failed."""

import asyncio
import sys

failed = 0


async def check(what, body, seconds=15):
    """Awaits `body`; its failure does not end the script."""
    global failed
    try:
        value = await asyncio.wait_for(body, seconds)
        print(f"ok {what}", flush=True)
        return value
    except asyncio.TimeoutError:
        reason = f"not finished within {seconds} s"
    except Exception as error:  # Whatever goes wrong is a failed check.
        reason = str(error) or repr(error)
    failed += 1
    print(f"not ok {what}: {' '.join(reason.split())}", flush=True)
    return None


def finish():
    sys.exit(1 if failed else 0)
