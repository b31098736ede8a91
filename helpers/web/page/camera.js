// The live camera in a dialog, with the other picture shown faintly over it, so that both are taken from one place.

import { Told } from "./files.js";
import { show } from "./draw.js";
import { pixels } from "./pictures.js";

const WHY = {
  NotAllowedError: "the browser or you did not allow it: allow the camera for this page in the browser's settings",
  NotFoundError: "there is none on this device: choose a picture instead",
  NotReadableError: "another program uses it: close that program",
};

// A picture (ImageData) taken by the person, or null if they cancelled.
export async function photograph(dialog, other) {
  if (!navigator.mediaDevices) {
    throw new Told("The camera works only on a page that a server sends by https: choose a picture instead.");
  }
  const wanted = { video: { facingMode: "environment", width: { ideal: 1280 } } };
  const stream = await navigator.mediaDevices.getUserMedia(wanted).catch((error) => {
    throw new Told(`The camera cannot be used, because ${WHY[error.name] ?? `it failed (${error.name})`}.`);
  });
  const video = dialog.querySelector("video"), ghost = dialog.querySelector("canvas");
  try {
    video.srcObject = stream;
    await video.play();
    ghost.hidden = !other;
    if (other) show(ghost, other);
    dialog.returnValue = "";
    dialog.showModal();
    await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
    return dialog.returnValue === "take" ? pixels(video, video.videoWidth, video.videoHeight) : null;
  } finally {
    stream.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  }
}
