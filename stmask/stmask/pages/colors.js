// Colours of objects: those of the drawings that the commands write.

const COLORS = [
  [244, 67, 54], [233, 30, 99], [156, 39, 176], [103, 58, 183], [63, 81, 181], [33, 150, 243],
  [3, 169, 244], [0, 188, 212], [0, 150, 136], [76, 175, 80], [139, 195, 74], [205, 220, 57],
  [255, 235, 59], [255, 193, 7], [255, 152, 0], [255, 87, 34], [121, 85, 72], [158, 158, 158],
  [96, 125, 139],
];

/** Red, green, blue of an object number, which is -1 for objects without one. */
export function colorOf(number) {
  return COLORS[(((5 * number) % COLORS.length) + COLORS.length) % COLORS.length];
}
