// Compressed run lengths of COCO masks, decoded in the browser.

/**
 * Reads the run lengths of a text.
 *
 * Every number is a chain of 5-bit groups, lowest first, in characters from 48 on; bit 32 says
 * that another group follows, bit 16 of the last group is the sign. From the third number on the
 * text holds the difference to the number two places before.
 */
export function runsOf(counts) {
  if (typeof counts !== "string") return Array.from(counts);
  const runs = [];
  let place = 0;
  while (place < counts.length) {
    let value = 0;
    let shift = 0;
    let group;
    do {
      group = counts.charCodeAt(place++) - 48;
      if (!(group >= 0 && group < 64) || shift > 30) throw new Error("malformed run lengths");
      // Multiplied, not shifted: 32-bit integers would overflow.
      value += (group & 31) * 2 ** shift;
      shift += 5;
    } while (group & 32);
    if (group & 16) value -= 2 ** shift;
    if (runs.length > 2) value += runs[runs.length - 2];
    runs.push(value);
  }
  return runs;
}

/** Decodes {size: [H, W], counts} into H * W bytes of 0 and 1, row by row. */
export function decodeMask({ size: [height, width], counts }) {
  const pixels = new Uint8Array(height * width);
  let place = 0;
  let value = 0;
  for (const run of runsOf(counts)) {
    if (run < 0 || place + run > pixels.length) throw new Error("malformed run lengths");
    // Masks are stored column by column.
    if (value) {
      for (let i = place; i < place + run; i++) {
        pixels[(i % height) * width + Math.floor(i / height)] = 1;
      }
    }
    place += run;
    value ^= 1;
  }
  if (place !== pixels.length) throw new Error("run lengths do not fill the mask");
  return pixels;
}
