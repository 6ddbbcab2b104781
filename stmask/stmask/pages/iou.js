// Two boxes that can be dragged, and their intersection over union.

const SMALLEST = 10;
const boxes = {
  one: { left: 60, top: 60, width: 200, height: 150 },
  two: { left: 160, top: 110, width: 200, height: 150 },
};

function iouOf(a, b) {
  const overlap = (start, size) =>
    Math.max(0, Math.min(a[start] + a[size], b[start] + b[size]) - Math.max(a[start], b[start]));
  const common = overlap("left", "width") * overlap("top", "height");
  return common / (a.width * a.height + b.width * b.height - common);
}

function show() {
  for (const [id, box] of Object.entries(boxes)) {
    for (const [name, value] of Object.entries(box)) {
      document.getElementById(id).style[name] = `${value}px`;
    }
  }
  document.getElementById("iou").textContent = iouOf(boxes.one, boxes.two).toFixed(3);
}

function drag(event, id) {
  const box = boxes[id];
  const start = { x: event.clientX, y: event.clientY, ...box };
  const resizes = event.target.tagName === "I";
  const square = document.getElementById(id);
  square.setPointerCapture(event.pointerId);
  square.onpointermove = (now) => {
    const [x, y] = [now.clientX - start.x, now.clientY - start.y];
    if (resizes) {
      box.width = Math.max(SMALLEST, start.width + x);
      box.height = Math.max(SMALLEST, start.height + y);
    } else {
      box.left = start.left + x;
      box.top = start.top + y;
    }
    show();
  };
  square.onpointerup = () => { square.onpointermove = null; };
}

for (const id of Object.keys(boxes)) {
  document.getElementById(id).addEventListener("pointerdown", (event) => drag(event, id));
}
show();
