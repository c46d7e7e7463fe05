"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = id => document.getElementById(id);
  const fail = text => {
    find("failed").hidden = false;
    find("failed").textContent = text;
    document.documentElement.dataset.state = "failed";
  };
  if (!document.createElement("canvas").getContext("webgl2")) {
    fail("This browser draws no WebGL 2. Open the page in a current Firefox, Chrome, Edge or Safari with graphics switched on.");
    return;
  }
  const { Niivue, NVImage } = window.niivue;
  const nv = new Niivue({
    backColor: [0, 0, 0, 1], show3Dcrosshair: true, isRadiologicalConvention: true, dragAndDropEnabled: false,
    isOrientationTextVisible: data.placed && !data.flat, isColorbar: false, logLevel: "error", isResizeCanvas: true,
    multiplanarShowRender: 1, viewModeHotKey: "", crosshairWidth: data.flat ? 0 : 0.3, crosshairWidthUnit: "percent", crosshairColor: [0.49, 0.77, 0.87, 0.9],
  });
  const maps = data.layers.slice(1);
  const colours = {
    R: [0, ...data.classes.map(c => c.colour[0])], G: [0, ...data.classes.map(c => c.colour[1])],
    B: [0, ...data.classes.map(c => c.colour[2])], A: [0, ...data.classes.map(() => 255)],
    I: [0, ...data.classes.map(c => c.value)], labels: ["", ...data.classes.map(c => c.name)],
  };
  /* The truth waits behind its slider where there is a prediction: two layers of one colour cannot be told apart. */
  const opacity = data.layers.map((layer, i) => i === 0 ? 1 : i === 1 ? 0.6 : 0);

  const show = which => {
    nv.setSliceType(which);
    for (const button of document.querySelectorAll(".views button"))
      button.setAttribute("aria-pressed", String(Number(button.dataset.view) === which));
  };
  const views = data.flat ? [["picture", 0]] : [["all", 3], ["axial", 0], ["coronal", 1], ["sagittal", 2], ["3-D", 4]];
  const addViews = () => views.forEach(([name, view]) => {
    const button = document.createElement("button");
    button.type = "button"; button.textContent = name; button.dataset.view = view;
    button.addEventListener("click", () => show(view));
    document.querySelector(".views").append(button);
  });

  const set = (i, value) => {
    opacity[i] = value;
    find(`opacity-${i}`).value = value;
    nv.setOpacity(i, value);
  };
  const toggle = name => {
    const i = data.layers.findIndex(layer => layer.name === name);
    if (i > 0) set(i, opacity[i] > 0 ? 0 : 0.6);
  };
  const addLayers = () => data.layers.forEach((layer, i) => {
    const label = document.createElement("label"), range = document.createElement("input");
    label.className = "layer"; label.append(layer.name, range);
    Object.assign(range, { type: "range", min: 0, max: 1, step: 0.05, id: `opacity-${i}`, value: opacity[i] });
    range.addEventListener("input", () => set(i, Number(range.value)));
    find("layers").append(label);
  });
  const addClasses = () => {
    const row = (cells, tag) => {
      const line = document.createElement("tr");
      cells.forEach((text, i) => {
        const cell = document.createElement(tag);
        cell.textContent = text; cell.className = i ? "number" : "";
        line.append(cell);
      });
      return line;
    };
    find("classes").tHead.append(row(["", ...maps.map(map => map.name)], "th"));
    for (const one of data.classes) {
      const line = row([one.name, ...one.counts.map(n => n.toLocaleString("en"))], "td");
      const chip = document.createElement("span");
      chip.className = "chip"; chip.style.background = `rgb(${one.colour})`;
      line.cells[0].prepend(chip);
      find("classes").tBodies[0].append(line);
    }
  };
  const outline = on => { find("outline").checked = on; nv.overlayOutlineWidth = on ? 0.5 : 0; nv.updateGLVolume(); };

  nv.onLocationChange = at => {
    const named = value => data.classes.find(c => c.value === Math.round(value))?.name ?? "nothing";
    const words = at.values.map((each, i) => i ? `${data.layers[i].name}: ${named(each.value)}` : `value ${Number(each.value.toPrecision(5))}`);
    const unit = data.placed ? " mm" : "";
    find("place").textContent = `${[...at.mm].slice(0, data.flat ? 2 : 3).map(x => x.toFixed(1)).join(", ")}${unit} · ${words.join(" · ")}`;
  };
  try {
    await nv.attachToCanvas(find("canvas"));
    for (const [i, layer] of data.layers.entries()) {
      const volume = await NVImage.loadFromBase64({ base64: layer.nifti, name: `${layer.name}.nii.gz`, opacity: opacity[i] });
      if (!i) { volume.cal_min = layer.low; volume.cal_max = layer.high; }
      else if (data.classes.length) volume.setColormapLabel(colours);
      nv.addVolume(volume);
    }
  } catch (error) {
    fail(`The volumes cannot be shown: ${error.message}`);
    throw error;
  }
  addViews(); addLayers(); addClasses();
  show(views[0][1]);
  nv.scene.crosshairPos = nv.mm2frac(data.focus);
  nv.updateGLVolume();
  find("outline").addEventListener("change", event => outline(event.target.checked));
  addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const view = views[Number(event.key) - 1];
    if (view) show(view[1]);
    else if (event.key === "p") toggle("prediction");
    else if (event.key === "t") toggle("truth");
    else if (event.key === "o") outline(!find("outline").checked);
    else if (event.key === "h") find("help").open = !find("help").open;
  });
  document.documentElement.dataset.state = "ready";
})();
