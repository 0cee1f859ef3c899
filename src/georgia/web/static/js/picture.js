// Drop a picture in: label, its probability, refusal, and where the net looked.
import { upload } from "./api.js";
import { element, percent } from "./format.js";

export function watchDrop(drop, input, answer) {
  const take = (file) => file && show(file, answer);
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
  place.replaceChildren(element("p", { className: "muted", textContent: `Asking about ${file.name} …` }));
  try {
    const answer = await upload("/api/predict", file);
    place.replaceChildren(await describe(file, answer));
  } catch (error) {
    place.replaceChildren(element("p", { className: "fault", textContent: error.message }));
  }
}

async function describe(file, answer) {
  const refused = answer.label === "unknown";
  const told = refused ? "unknown: refused" : `${answer.label} ${percent(answer.probability, 2)}`;
  const words = element("div", { className: "words" }, element("p", { className: "label", textContent: told }), element("p", { className: "small muted", textContent: `${answer.file}, ${answer.width_px} × ${answer.height_px} px` }));
  if (refused) words.append(element("p", { className: "small", textContent: "It does not look like the crystals that the model learned, so no class is given." }));
  if (answer.set.length) words.append(element("p", { className: "small", textContent: `Not ruled out: ${answer.set.join(", ")}` }));
  const bars = element("div", { className: "bars small" });
  for (const [name, value] of Object.entries(answer.probabilities)) {
    const meter = element("meter", { min: 0, max: 1, value });
    meter.setAttribute("aria-label", `Probability of ${name}`);
    bars.append(element("span", { textContent: name }), meter, element("span", { className: "number", textContent: percent(value, 2) }));
  }
  words.append(bars);
  const box = element("div", { className: "answer" }, words);
  const picture = await createImageBitmap(file).catch(() => null);
  if (picture) {
    box.append(canvas(picture, null, "The picture"));
    if (answer.map) box.append(canvas(picture, answer.map, `Where the net looked for ${refused ? "its best guess" : answer.label}`));
  }
  return box;
}

function canvas(picture, map, label) {
  const scale = Math.min(1, 400 / Math.max(picture.width, picture.height));
  const made = element("canvas", { width: Math.max(1, Math.round(picture.width * scale)), height: Math.max(1, Math.round(picture.height * scale)) });
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", label);
  const ctx = made.getContext("2d");
  ctx.drawImage(picture, 0, 0, made.width, made.height);
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
