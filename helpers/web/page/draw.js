// From maps to pictures: ImageData of the size of the scene, for each view of the page.

const TINT = [255, 110, 0]; // of the cat

// `pixel(out, at, i)` writes the four bytes of pixel `i` at `at`.
function painted({ width, height }, pixel) {
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) pixel(image.data, 4 * i, i);
  return image;
}

// The scene, coloured where the mask's probability is at least the threshold.
export const overlay = (scene, mask, threshold) => painted(scene, (out, at, i) => {
  const share = mask[i] >= threshold ? 0.55 : 0;
  for (let c = 0; c < 3; c++) out[at + c] = scene.data[at + c] * (1 - share) + TINT[c] * share;
  out[at + 3] = 255;
});

// Depth, 0 nearest and 1 farthest, in the course's 256 colours.
export const depthPicture = (scene, depth, colours) => painted(scene, (out, at, i) => {
  const colour = colours[Math.min(255, Math.floor(depth[i] * 256))];
  for (let c = 0; c < 3; c++) out[at + c] = colour[c];
  out[at + 3] = 255;
});

// The cat alone: opaque above the threshold, transparent below, half where the probability is the threshold, so that
// the outline is as soft as the network's.
export function cutOut(scene, mask, threshold) {
  const width = Math.min(0.2, 2 * threshold, 2 * (1 - threshold));
  return painted(scene, (out, at, i) => {
    for (let c = 0; c < 3; c++) out[at + c] = scene.data[at + c];
    out[at + 3] = 255 * Math.min(1, Math.max(0, (mask[i] - threshold) / width + 0.5));
  });
}

// How much of the picture is cat, and its mean depth (NaN where there is no cat).
export function facts(mask, depth, threshold) {
  let count = 0, sum = 0;
  mask.forEach((value, i) => {
    if (value >= threshold) [count, sum] = [count + 1, sum + depth[i]];
  });
  return { share: count / mask.length, depth: sum / count };
}

export function show(canvas, image) {
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// The cut-out on a colour, or on a picture that covers it all; transparent where there is neither.
export function onBackground(canvas, cat, background) {
  const own = document.createElement("canvas"), context = canvas.getContext("2d");
  [own, canvas].forEach((each) => show(each, cat));
  context.clearRect(0, 0, cat.width, cat.height);
  if (typeof background === "string") {
    context.fillStyle = background;
    context.fillRect(0, 0, cat.width, cat.height);
  } else if (background) {
    const picture = document.createElement("canvas");
    show(picture, background);
    const scale = Math.max(cat.width / picture.width, cat.height / picture.height);
    const [width, height] = [picture.width * scale, picture.height * scale];
    context.drawImage(picture, (cat.width - width) / 2, (cat.height - height) / 2, width, height);
  }
  context.drawImage(own, 0, 0);
}
