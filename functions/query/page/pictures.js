// Pictures as a part of the query: chosen, dropped or pasted; made small here, so that they upload fast.
"use strict";

const UPLOAD_SIDE = 640; // pixels; more than any CLIP model looks at
const UPLOAD_BYTES = 4_000_000; // 5.4 MB as base64; a Lambda function takes requests of 6 MB
const SHRUNK = "data:image/jpeg;base64,"; // how those begin that were drawn here, and may be shown
const file = $("#file");

async function addPictures(files) {
  abandon();
  const { signal } = running;
  try {
    const made = await Promise.all(files.map(shrink));
    if (!signal.aborted) add(made.map((value) => ({ kind: "image", value, weight: 1 })));
  } catch (error) {
    if (signal.aborted) return;
    setBusy(false);
    complain(error);
  }
}

/**
 * A data URL of a picture, made small. createImageBitmap turns it upright, and draws no SVG. What this browser can't
 * decode (HEIC, say) goes as it is, since the server may know the format; it is never drawn here.
 */
async function shrink(blob) {
  const called = `“${blob.name}”`;
  if (!blob.size || !/^(image\/(?!svg).*)?$/.test(blob.type)) {
    const right = "a JPEG, PNG, WebP, GIF, AVIF, HEIC, TIFF or BMP file would do";
    throw new Trouble("invalid_image", `${called} is ${blob.size ? "no picture made of pixels" : "empty"}: ${right}.`);
  }
  const bitmap = await createImageBitmap(blob).catch(() => null);
  if (!bitmap) return asItIs(blob, called);
  const scale = Math.min(1, UPLOAD_SIDE / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = el("canvas", { width, height });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white"; // JPEG has no transparency; the index lays pictures on white too
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return canvas.toDataURL("image/jpeg", 0.9);
}

async function asItIs(blob, called) {
  if (blob.size > UPLOAD_BYTES) {
    throw new Trouble("too_large", `This browser can’t make ${called} smaller than ${UPLOAD_BYTES / 1e6} MB.`);
  }
  if (/^\s*<(\?xml|!|svg)/i.test(await blob.slice(0, 64).text())) {
    throw new Trouble("invalid_image", `${called} is no picture made of pixels, whatever its name says.`);
  }
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(`data:application/octet-stream;base64,${reader.result.split(",")[1]}`);
    reader.onerror = () => reject(new Trouble("invalid_image", `${called} can’t be read from this device.`));
    reader.readAsDataURL(blob);
  });
}

file.addEventListener("change", () => {
  if (file.files.length) addPictures([...file.files]);
  file.value = ""; // so that the same file can be chosen again
});

addEventListener("paste", ({ clipboardData: { files } }) => {
  if (files.length && !$("dialog[open]")) addPictures([...files]);
});

let ownDrag = false; // something of this page is dragged, which is no query

function drag(event) {
  const { types } = event.dataTransfer;
  const usable = !ownDrag && (types.includes("Files") || types.includes("text/uri-list"));
  if (usable) event.preventDefault();
  $("#drop").classList.toggle("shown", usable && event.type === "dragover");
  return usable;
}

addEventListener("dragstart", () => (ownDrag = true));
addEventListener("dragend", () => (ownDrag = false));
addEventListener("dragover", drag);
addEventListener("dragleave", (event) => event.relatedTarget || drag(event)); // leaves the window
addEventListener("drop", (event) => {
  if (!drag(event)) return;
  const files = [...event.dataTransfer.files], address = event.dataTransfer.getData("URL");
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  if (files.length) addPictures(files);
  else if (address) add([{ kind: "image_url", value: address, weight: 1 }]);
});
