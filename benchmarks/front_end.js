// The page's half of front_end.py: functions that it calls by name, in window.watch.
window.watch = (() => {
  const frame = () => new Promise((go) => requestAnimationFrame(() => go(performance.now())));
  const same = (a, b) => a?.length === b?.length && a.every((pixel, i) => pixel === b[i]);
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const arrow = (event) => event.key.startsWith("Arrow");
  let place, now, kept, events, frames, painted, done;

  const panel = () => window.jupyterapp.shell.currentWidget;
  const clear = () => ([events, frames, painted] = [[], [], []]);
  const seen = () => ({ events, frames, painted });

  function read(image) {
    const [w, h] = ([pen.canvas.width, pen.canvas.height] = [image.naturalWidth, image.naturalHeight]);
    pen.drawImage(image, 0, 0);
    return new Uint32Array(pen.getImageData(0, 0, w, h).data.buffer);
  }

  async function loaded({ target: image }) {
    if (image.tagName !== "IMG") return;
    try {
      await image.decode();
    } catch {
      return; // overtaken by a newer picture
    }
    const at = await frame();
    if (!image.isConnected) return;
    const next = read(image);
    if (same(now, next)) return;
    now = next;
    frames.push(at);
    painted.push(await frame());
  }

  function told(cell) {
    const outputs = cell.model.outputs.toJSON();
    const images = [...cell.node.querySelectorAll(".jp-OutputArea-output img")];
    return {
      id: cell.model.id,
      count: cell.model.executionCount,
      errors: outputs.filter((one) => one.output_type === "error").map((one) => `${one.ename}: ${one.evalue}`),
      stderr: outputs.filter((one) => one.name === "stderr").map((one) => [].concat(one.text).join("")),
      pictures: images.map((one) => one.naturalWidth),
      widgets: outputs.filter((one) => one.data?.["application/vnd.jupyter.widget-view+json"]).length,
      alive: cell.node.querySelectorAll(".jp-OutputArea-output > .jupyter-widgets").length,
    };
  }

  const runsOver = (equation) => equation.scrollWidth > equation.clientWidth + 1;
  const hasWideEquation = ({ node }) => [...node.querySelectorAll("mjx-container[display]")].some(runsOver);

  return {
    clear,
    seen,
    keep: () => ((kept = now), seen()),
    isKept: () => same(kept, now),
    isDone: () => done && panel().sessionContext.session.kernel.status === "idle",
    outcome: () => panel().content.widgets.filter((cell) => cell.model.type === "code").map(told),
    wideEquations: () => panel().content.widgets.filter(hasWideEquation).map((cell) => cell.model.id),

    async ready() {
      const app = window.jupyterapp;
      await app.restored;
      while (!panel()?.sessionContext) await frame();
      await panel().context.ready;
      await panel().sessionContext.ready;
    },

    run() {
      done = false;
      window.jupyterapp.commands.execute("notebook:run-all-cells").then(() => (done = true));
    },

    close: () => panel().sessionContext.shutdown(),

    // Watches the pictures inside of the selector's element, which may be replaced by others.
    start(selector) {
      place?.removeEventListener("load", loaded, true);
      place = document.querySelector(selector);
      now = read(place.querySelector("img"));
      clear();
      place.addEventListener("load", loaded, true);
    },

    listen() {
      addEventListener("keydown", (event) => arrow(event) && events.push(event.timeStamp), true);
      addEventListener("pointermove", (event) => event.buttons && events.push(event.timeStamp), true);
    },

    focused() {
      const one = document.activeElement;
      if (one?.getAttribute("role") !== "slider") return null;
      const label = one.closest(".jupyter-widgets").querySelector(".widget-label").textContent;
      const at = (end) => one.getAttribute("aria-valuenow") === one.getAttribute(`aria-value${end}`);
      return { label, full: at("max"), empty: at("min") };
    },
  };
})();
