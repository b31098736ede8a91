// Depth as what it means: the pixels as points in space, as helpers.widgets.cloud_viewer places them, to be turned.

const SLOPE = 2 * Math.tan((52 / 2) * Math.PI / 180); // the camera is taken to see 52 degrees from left to right
const [NEAR, FAR] = [1, 4]; // metres that depth 0 and 1 are taken for: the network does not tell them
const MIDDLE = (NEAR + FAR) / 2; // what the cloud turns around, straight ahead
const ROW = 320; // points at most in a row: the network sees no more
const LARGER = 1.5; // times as large as a pixel was is a point, so that surfaces seen from aside have fewer gaps
const MOST = 12; // pixels, of a point
const CLOSEST = 0.2; // metres from the camera

// Where each pixel is, in metres: x to the right, y ahead, z up; three numbers each, row by row.
export function unprojected(depth, width, height) {
  const points = new Float32Array(3 * width * height);
  for (let i = 0; i < width * height; i++) {
    const ahead = NEAR + depth[i] * (FAR - NEAR), pixel = (SLOPE / width) * ahead; // metres
    points[3 * i] = ((i % width) + 0.5 - width / 2) * pixel;
    points[3 * i + 1] = ahead;
    points[3 * i + 2] = (height / 2 - Math.floor(i / width) - 0.5) * pixel;
  }
  return points;
}

// The points in the scene's colours, as seen by a camera that went around their middle, `turn` degrees to the right and
// `tilt` upwards, and came `zoom` times as near: ImageData, transparent where no point is; the nearest is seen.
export function cloudPicture(scene, points, width, { turn, tilt, zoom }) {
  const height = Math.round((width * scene.height) / scene.width), image = new ImageData(width, height);
  const nearest = new Float32Array(width * height).fill(Infinity);
  const [pixels, colours] = [image, scene].map(({ data }) => new Uint32Array(data.buffer));
  const [sinTurn, sinTilt] = [turn, tilt].map((degrees) => Math.sin((degrees * Math.PI) / 180));
  const [cosTurn, cosTilt] = [turn, tilt].map((degrees) => Math.cos((degrees * Math.PI) / 180));
  const step = Math.ceil(scene.width / ROW), focal = width / SLOPE, side = (LARGER * step * width) / scene.width;
  for (let row = 0; row < scene.height; row += step) {
    for (let column = 0; column < scene.width; column += step) {
      const i = row * scene.width + column, x = points[3 * i], y = points[3 * i + 1] - MIDDLE, z = points[3 * i + 2];
      const right = cosTurn * x + sinTurn * y, ahead = cosTurn * y - sinTurn * x;
      const distance = cosTilt * ahead - sinTilt * z + MIDDLE / zoom, up = sinTilt * ahead + cosTilt * z;
      if (distance < CLOSEST) continue;
      const size = Math.min(MOST, Math.ceil((side * points[3 * i + 1]) / distance)); // as large as its pixel was
      const left = Math.round((width - size) / 2 + (focal * right) / distance);
      const top = Math.round((height - size) / 2 - (focal * up) / distance);
      for (let v = Math.max(0, top); v < Math.min(height, top + size); v++) {
        for (let at = v * width + Math.max(0, left); at < v * width + Math.min(width, left + size); at++) {
          if (distance < nearest[at]) [nearest[at], pixels[at]] = [distance, colours[i]];
        }
      }
    }
  }
  return image;
}

// Dragging over the canvas moves the two sliders, which keys move too; `draw` is called after each move.
export function turnable(canvas, turn, tilt, draw) {
  let last;
  canvas.onpointerdown = (event) => {
    last = event;
    canvas.setPointerCapture(event.pointerId);
  };
  canvas.onpointermove = (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return; // no button is down, or it was pressed elsewhere
    turn.valueAsNumber -= (event.clientX - last.clientX) / 3; // degrees; a slider keeps within its ends
    tilt.valueAsNumber += (event.clientY - last.clientY) / 3;
    last = event;
    draw();
  };
}
