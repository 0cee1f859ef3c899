// Drop an image in: label, probability, rejection, and the class map.
import { upload } from "./api.js";
import { element, interval, percent } from "./format.js";
import { drawWindows } from "./frames.js";

export function watchDrop(drop, input, place) {
  const take = (file) => file && show(file, place);
  input.addEventListener("change", () => {
    take(input.files[0]);
    input.value = "";
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop") take(event.dataTransfer.files[0]);
    });
  }
}

async function show(file, place) {
  place.replaceChildren(element("p", { className: "muted", textContent: `Classifying ${file.name} …` }));
  try {
    const prediction = await upload("api/predict", file);
    place.replaceChildren(await describe(file, prediction));
  } catch (error) {
    place.replaceChildren(element("p", { className: "fault", textContent: error.message }));
  }
}

const SET_PROMISE = "At an error rate of 5 %, on average over new groups (batches, crystals) that are like those of the model's training: same apparatus, material and conditions. Nothing is promised for others.";

async function describe(file, prediction) {
  if (prediction.frame) return describeFrame(file, prediction);
  const isRejected = prediction.label === "unknown";
  const title = isRejected ? "unknown: rejected" : `${prediction.label} ${percent(prediction.probability, 2)}`;
  const text = element("div", { className: "text" }, element("p", { className: "label", textContent: title }), element("p", { className: "small muted", textContent: `${prediction.file}, ${prediction.width_px} × ${prediction.height_px} px` }));
  if (isRejected) text.append(element("p", { className: "small", textContent: "It does not resemble the images that the model was trained on, so it gets no class." }));
  if (prediction.set.length) text.append(element("p", { className: "small", title: SET_PROMISE, textContent: `Cannot be ruled out: ${prediction.set.join(", ")}` }));
  const bars = element("div", { className: "bars small" });
  for (const [name, value] of Object.entries(prediction.probabilities)) {
    const meter = element("meter", { min: 0, max: 1, value });
    meter.setAttribute("aria-label", `Probability of ${name}`);
    bars.append(element("span", { textContent: name }), meter, element("span", { className: "number", textContent: percent(value, 2) }));
  }
  text.append(bars);
  const box = element("div", { className: "prediction" }, text);
  const image = await createImageBitmap(file).catch(() => null);
  if (image) {
    box.append(canvas(image, null, "The image"));
    if (prediction.map) box.append(canvas(image, prediction.map, `Where the net looked for ${isRejected ? "the most probable class" : prediction.label}`));
  }
  return box;
}

// A whole frame: what its windows show, as the monitor says it.
async function describeFrame(file, { frame, ...prediction }) {
  const value = frame.fraction === null ? frame.status : `${frame.impurity} ${percent(frame.fraction)} (${interval(frame.low, frame.high)})`;
  const counts = `${frame.n_judged} windows analysed, ${frame.n_unknown} rejected as unknown, ${frame.n_empty} empty`;
  const text = element("div", { className: "text" }, element("p", { className: "label", textContent: value }), element("p", { className: "small muted", textContent: `${prediction.file}, ${prediction.width_px} × ${prediction.height_px} px, taken as a whole frame: ${counts}` }));
  const box = element("div", { className: "prediction frame" }, text);
  const image = await createImageBitmap(file).catch(() => null);
  if (image) {
    const scale = Math.min(1, 900 / Math.max(image.width, image.height));
    const made = element("canvas", { width: Math.round(image.width * scale), height: Math.round(image.height * scale) });
    made.setAttribute("role", "img");
    made.setAttribute("aria-label", `${value}; ${counts}`);
    const ctx = made.getContext("2d");
    ctx.drawImage(image, 0, 0, made.width, made.height);
    drawWindows(ctx, frame.map, scale, frame.impurity);
    box.append(made);
  }
  return box;
}

function canvas(image, map, label) {
  const scale = Math.min(1, 400 / Math.max(image.width, image.height));
  const made = element("canvas", { width: Math.max(1, Math.round(image.width * scale)), height: Math.max(1, Math.round(image.height * scale)) });
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", label);
  const ctx = made.getContext("2d");
  ctx.drawImage(image, 0, 0, made.width, made.height);
  if (map) {
    const heat = element("canvas", { width: map[0].length, height: map.length });
    const pixels = heat.getContext("2d").createImageData(map[0].length, map.length);
    map.flat().forEach((value, at) => pixels.data.set([230, 159, 0, Math.round(200 * Math.max(0, Math.min(1, value)))], 4 * at));
    heat.getContext("2d").putImageData(pixels, 0, 0);
    ctx.imageSmoothingEnabled = true;
    ctx.drawImage(heat, 0, 0, made.width, made.height);
  }
  return made;
}
