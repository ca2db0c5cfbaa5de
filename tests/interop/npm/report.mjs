// Results of a script: a line `ok …` or `not ok …` for each check, and an exit code other than 0 when one failed.

let failed = 0;

export function ok(what) {
  console.log(`ok ${what}`);
}

export function notOk(what, why) {
  failed += 1;
  console.log(`not ok ${what}: ${why}`);
}

// Runs a check; its failure does not end the script, but whoever needs its value gets undefined.
export async function check(what, body) {
  try {
    const value = await body();
    ok(what);
    return value;
  } catch (error) {
    notOk(what, error?.message ?? error);
    return undefined;
  }
}

export function expect(condition, message) {
  if (!condition) throw new Error(message);
}

export function finish() {
  process.exit(failed === 0 ? 0 : 1);
}

// A script that hangs has failed.
export function deadline(seconds) {
  setTimeout(() => {
    notOk('script', `not finished after ${seconds} s`);
    finish();
  }, seconds * 1000).unref();
}
