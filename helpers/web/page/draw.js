// From maps to pictures: ImageData of the size of the scene, for each view of the page.

const TINT = [255, 110, 0]; // of the cat

const painted = ({ width, height }, pixel) => {
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) image.data.set(pixel(i), 4 * i);
  return image;
};

// The scene, coloured where the mask's probability is at least the threshold.
export function overlay(scene, mask, threshold) {
  const { data } = scene;
  return painted(scene, (i) => {
    const share = mask[i] >= threshold ? 0.55 : 0;
    return [...TINT.map((tint, channel) => data[4 * i + channel] * (1 - share) + tint * share), 255];
  });
}

// Depth, 0 nearest and 1 farthest, in the course's 256 colours.
export const depthPicture = (scene, depth, colours) =>
  painted(scene, (i) => [...colours[Math.min(255, Math.floor(depth[i] * 256))], 255]);

// The cat alone: opaque above the threshold, transparent below, half where the probability is the threshold, so that
// the outline is as soft as the network's.
export function cutOut(scene, mask, threshold) {
  const { data } = scene, width = Math.min(0.2, 2 * threshold, 2 * (1 - threshold));
  return painted(scene, (i) => {
    const opacity = Math.min(1, Math.max(0, (mask[i] - threshold) / width + 0.5));
    return [data[4 * i], data[4 * i + 1], data[4 * i + 2], 255 * opacity];
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
